# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup run: real rsync, real files, the gate's grammar; what the server says over HTTP is said by the test."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server_side import School, look, uid_of, write
from xo_client import backoff, backup, cli_backup, conditions, laptop, registration, rsync, server, sugar, words
from xo_client.conditions import Facts, Power
from xo_client.errors import Trouble
from xo_client.registration import Registered
from xo_client.server import Permission
from xo_client.state import State

RANDOM, MOST_RANDOM = 10, 100  # kills and cut-offs at random moments
YES = Permission(200, "", None)
AT = Registered("ABC12345678", "schoolserver")


class Play:
    """A laptop with a Journal, and a school that says what a test wants."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.school = School(top / "school")
        self.history: dict[str, Any] = {"protocol": 1, "trees": []}
        self.profile = top / "default"
        self.journal = self.profile / "datastore"
        self.journal.mkdir(parents=True)
        for cache in ("index", "checksums/queue"):
            (self.journal / cache).mkdir(parents=True)
        for file in ("version", "index_updated", "ds_clean", "index/flintlock"):
            (self.journal / file).write_text("6")
        self.state = State(self.profile)
        self.now = datetime(2026, 11, 26, 10, 15, tzinfo=UTC)
        self.answers: list[Permission] = []
        self.registrations = 0
        self.sent: list[backup.Sent] = []
        monkeypatch.setattr(laptop, "facts", lambda profile: Facts(True, Power(True, None), False))
        monkeypatch.setattr(server, "time_now", lambda host: self.now)
        monkeypatch.setattr(server, "may_i", lambda host, serial: self.answers.pop(0) if self.answers else YES)
        monkeypatch.setattr(server, "ssh", lambda state, at: self.school.remote.ssh)
        monkeypatch.setattr(server, "ask", lambda state, at, verb: self.history)
        monkeypatch.setattr(registration, "host", lambda state: AT.host)
        monkeypatch.setattr(registration, "registered", lambda state: AT)
        monkeypatch.setattr(registration, "register", self.register)
        monkeypatch.setattr(backup, "_documents", lambda: None)
        monkeypatch.setattr(backup, "_LOOK_SECONDS", 0.05)

    def register(self, state: State, *, asked: bool) -> Registered:
        self.registrations += 1
        return AT

    def run(self, *, anyway: bool = False, cancel: threading.Event | None = None) -> None:
        backup.once(self.state, anyway=anyway, tell=self.sent.append, cancel=cancel or threading.Event())

    def stopped(self, **words: Any) -> Trouble:
        with pytest.raises(Trouble) as caught:
            self.run(**words)
        return caught.value

    def is_equal(self) -> bool:
        return documents(self.school.incoming) == documents(self.journal)


def documents(datastore: Path) -> dict[str, Any]:
    return {str(path): content for path, content in look(datastore).items() if len(path.split("/")[0]) == 2}


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    made = Play(tmp_path, monkeypatch)
    for number in range(5):
        write(made.journal, uid_of(number), title=f"Drawing {number}", data=os.urandom(3000))
    return made


def test_all_documents_are_sent_and_no_cache(play: Play) -> None:
    play.run()
    assert play.is_equal()
    assert not {"index", "checksums", "index_updated", "ds_clean"} & set(os.listdir(play.school.incoming))
    assert (play.school.incoming / "version").read_text() == "6"
    assert play.sent[-1].documents == play.sent[-1].of_documents == 5
    assert play.sent[-1].bytes == play.sent[-1].of_bytes


def test_afterwards_todays_is_done_and_tomorrows_is_not(play: Play) -> None:
    assert not backup.is_done(play.state, play.now)
    play.run()
    assert backup.is_done(play.state, play.now + timedelta(hours=13))
    assert not backup.is_done(play.state, play.now + timedelta(hours=14))


@pytest.mark.parametrize("flag", ["ds-backup-done", "ds_backup-done"])
def test_whoever_removes_the_old_clients_flag_asks_for_a_backup(play: Play, flag: str) -> None:
    play.run()
    (play.profile / flag).unlink()
    assert not backup.is_done(play.state, play.now)


def test_the_run_is_ended_so_that_another_laptop_has_the_place(play: Play) -> None:
    play.run()
    assert (play.school.incoming.parent / "flag").exists()


def test_what_was_deleted_is_deleted_in_incoming(play: Play) -> None:
    play.run()
    shutil.rmtree(play.journal / uid_of(1)[:2])
    play.run()
    assert play.is_equal()


def test_a_document_that_is_being_saved_is_waited_for(play: Play) -> None:
    uid = uid_of(9)
    entry = write(play.journal, uid, data=b"half", filesize="8", when=int(time.time()))
    end = threading.Timer(0.3, lambda: (entry / "data").write_bytes(b"wholeall"))
    end.start()
    play.run()
    assert (play.school.incoming / uid[:2] / uid / "data").read_bytes() == b"wholeall"


def test_nothing_half_is_sent_where_saving_takes_long(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "_QUIET_SECONDS", 0.2)
    uid = uid_of(9)
    write(play.journal, uid, data=b"half", filesize="8", when=int(time.time()))
    assert play.stopped().reason == "moving"
    assert not documents(play.school.incoming)


def save(entry: Path, data: bytes, when: int = 0) -> None:
    """Change a document as Sugar does: properties by renaming, then the data piece by piece.

    `when`: by a clock that runs faster, for rsync takes two files of one second and one size for the same.
    """
    for key, value in (("title", f"Drawing of {len(data)}".encode()), ("filesize", str(len(data)).encode())):
        (entry / "metadata" / f".{key}").write_bytes(value)
        (entry / "metadata" / f".{key}").rename(entry / "metadata" / key)
    (entry / "data").unlink()
    with (entry / "data").open("wb", buffering=0) as file:
        for start in range(0, len(data), 1000):
            file.write(data[start : start + 1000])
    for file_ in (entry / "data", *(entry / "metadata").iterdir()) if when else ():
        os.utime(file_, (when, when))


def test_while_sugar_saves_all_the_time_no_run_passes_for_complete_with_half_a_document(play: Play) -> None:
    entry, end = play.journal / uid_of(2)[:2] / uid_of(2), threading.Event()

    def draw() -> None:
        rng = random.Random(1)
        while not end.is_set():
            save(entry, rng.randbytes(rng.randrange(1, 200_000)))

    child = threading.Thread(target=draw)
    child.start()
    try:
        for _ in range(4):
            try:
                play.run()
            except Trouble as trouble:
                assert trouble.reason in ("moving", "partly")
                continue
            there = play.school.incoming / uid_of(2)[:2] / uid_of(2)
            assert int((there / "metadata" / "filesize").read_text()) == (there / "data").stat().st_size
    finally:
        end.set()
        child.join()
    save(entry, b"the last word", int(time.time()) + 2)
    play.run()
    assert play.is_equal()


def test_a_busy_server_is_left_alone(play: Play) -> None:
    play.answers = [Permission(503, "busy", 120)]
    trouble = play.stopped()
    assert (trouble.reason, trouble.retry_after) == ("busy", 120)
    assert not play.is_equal()
    assert not backup.is_done(play.state, play.now)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Permission(503, "full", 3600), "full"),
        (Permission(503, "", None), "busy"),
        (Permission(403, "retired", None), "retired"),
        (Permission(404, "", None), "trouble"),
        (Permission(500, "", None), "trouble"),
    ],
)
def test_each_no_has_its_sentence(play: Play, answer: Permission, reason: str) -> None:
    play.answers = [answer]
    trouble = play.stopped()
    assert trouble.reason == reason
    assert trouble.message == words.SENTENCES[reason]
    assert play.registrations == 0


def test_a_server_that_forgot_the_laptop_is_told_once_more_who_it_is(play: Play) -> None:
    play.answers = [Permission(403, "unknown", None), YES]
    play.run()
    assert play.registrations == 1
    assert play.is_equal()
    play.answers = [Permission(403, "", None)] * 2
    assert play.stopped().reason == "unknown"
    assert play.registrations == 2


def full_server(play: Play) -> None:
    stamp = "2026-11-20T101500Z"
    tree = {"tree": AT.login, "snapshots": [{"stamp": stamp, "documents": 120}], "best": stamp, "why": "newest"}
    play.history = {"protocol": 1, "trees": [tree]}


def test_a_reflashed_laptop_is_offered_its_documents_before_they_are_pushed_aside(play: Play) -> None:
    full_server(play)
    trouble = play.stopped()
    assert trouble.reason == "offer"
    assert "120 documents of yours from 2026-11-20, and this laptop has 5" in trouble.message
    assert not documents(play.school.incoming)
    assert play.state.read(backup.OFFER)["documents"] == 120


def test_whoever_does_not_want_them_backs_up_anyway(play: Play) -> None:
    full_server(play)
    play.stopped()
    play.run(anyway=True)
    assert play.is_equal()
    assert play.state.read(backup.OFFER) == {}


def test_an_offer_that_nobody_answers_holds_no_backup_back_for_ever(play: Play) -> None:
    full_server(play)
    for day in range(3):
        play.now += timedelta(days=day)
        assert play.stopped().reason == "offer"
    play.now += timedelta(days=1)
    play.run()
    assert play.is_equal()
    assert play.state.read(backup.OFFER)["documents"] == 120  # it stands until it is answered


def test_a_cancel_ends_it_and_the_next_run_completes_it(play: Play) -> None:
    cancel = threading.Event()
    cancel.set()
    assert play.stopped(cancel=cancel).reason == "cancelled"
    assert not backup.is_done(play.state, play.now)
    play.run()
    assert play.is_equal()


def test_only_one_runs_at_a_time(play: Play) -> None:
    with play.state.alone():
        assert play.stopped().reason == "running"


def test_a_lost_connection_is_told_as_one(play: Play) -> None:
    play.school.cut_off_after(2000)
    trouble = play.stopped()
    assert trouble.reason == "network"
    assert trouble.passes


def test_how_it_ended_is_kept_and_a_child_is_told_once(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    shown = True

    def notify(body: str) -> bool:
        told.append(body)
        return shown

    monkeypatch.setattr(sugar, "notify", notify)
    for trouble in (Trouble("full"), Trouble("full"), Trouble("busy"), None, Trouble("full")):
        backup.note(play.state, trouble)
    assert told == [words.SENTENCES["full"]] * 2
    for _ in range(2):
        backup.note(play.state, None, pending=True)
    assert told[2:] == [words.SENTENCES["pending"]]
    backup.note(play.state, None)
    backup.note(play.state, None, pending=True)
    assert told[3:] == [words.SENTENCES["pending"]]
    shown = False
    for _ in range(2):
        backup.note(play.state, Trouble("full"))
    assert told[4:] == [words.SENTENCES["full"]] * 2, "with no Sugar there it was told to nobody"
    assert play.state.read(backup.OUTCOME)["reason"] == "full"


_SENDER = """
import sys, threading
from pathlib import Path
from xo_client import backup, rsync
remote = rsync.Remote([sys.argv[1], "school"])
backup.send_journal(remote, Path(sys.argv[2]), lambda sent: None, threading.Event())
"""


def killed_or_cut_off(play: Play, moments: int) -> None:
    """Let `moments` runs be killed or cut off at random moments, each with something new to send."""
    rng = random.Random(7)
    command = [sys.executable, "-c", _SENDER, play.school.remote.ssh[0], str(play.journal)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for moment in range(moments):
        write(play.journal, uid_of(100 + moment), data=os.urandom(60_000))
        save(play.journal / uid_of(3)[:2] / uid_of(3), os.urandom(30_000), 1_750_000_000 + moment)
        if moment % 2:
            play.school.cut_off_after(rng.randrange(100, 90_000))
        process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
        if moment % 2:
            process.wait()
            play.school.cut_off_after(None)
        else:
            time.sleep(rng.uniform(0, 0.4))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        before = documents(play.journal)
        if moment % 5 == 4:
            play.run()
            assert play.is_equal()
        assert documents(play.journal) == before, "a backup only reads"
    play.run()
    assert play.is_equal()


def test_killed_and_cut_off_at_random_moments_the_next_run_completes_it(play: Play) -> None:
    killed_or_cut_off(play, RANDOM)


@pytest.mark.soak
def test_killed_and_cut_off_a_hundred_times(play: Play) -> None:
    killed_or_cut_off(play, MOST_RANDOM)


def test_the_offer_record_is_what_sugars_window_reads(play: Play) -> None:
    full_server(play)
    play.stopped()
    record = json.loads((play.profile / "xo-client" / "offer.json").read_text())
    assert (record["documents"], record["day"]) == (120, "2026-11-20")
    assert conditions.is_patient(record)


def test_a_file_of_another_owner_among_the_plain_files_keeps_no_backup_from_being_done(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = play.profile.parent / "Documents"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    monkeypatch.setattr(backup, "_documents", lambda: folder)
    real = rsync.push

    def push(remote: Any, source: Path, target: str, **words: Any) -> int:
        real(remote, source, target, **words)
        if target == "documents":
            raise Trouble("partly")
        return 0

    monkeypatch.setattr(rsync, "push", push)
    play.run()
    assert backup.is_done(play.state, play.now)
    assert (play.school.incoming.parent / "documents" / "mine.txt").exists()


@pytest.mark.parametrize("broken", ["lock", "last.new", "xo-client"])
def test_a_folder_that_cannot_be_written_to_is_the_disks_trouble(play: Play, broken: str) -> None:
    """A directory, or a file, stands where a file, or the folder, belongs: root may write to all else."""
    if broken == "xo-client":
        (play.profile / broken).write_text("")
    else:
        (play.profile / "xo-client" / broken).mkdir(parents=True)
    trouble = play.stopped()
    assert trouble.reason == "disk"
    backup.note(play.state, trouble)


def test_a_record_that_cannot_be_removed_is_the_disks_trouble(play: Play) -> None:
    (play.profile / "xo-client" / "offer.json" / "x").mkdir(parents=True)
    assert play.stopped().reason == "disk"


def test_records_of_any_kind_stop_nothing(play: Play) -> None:
    for name, record in (
        ("last", {"at": 5, "day": []}),
        ("offer", {"days": 5}),
        ("outcome", {"reason": {}}),
        ("told", {}),
    ):
        play.state.write(name, record)
    assert backup.status(play.state)["last"] is None
    cli_backup.why_not(play.state)
    play.run()


def test_a_path_that_is_no_utf8_is_kept_in_a_record(play: Play) -> None:
    play.state.write("moving", {"work": os.fsdecode(b"/home/\xe9t\xe9")})
    assert os.fsencode(play.state.read("moving")["work"]) == b"/home/\xe9t\xe9"


def test_an_empty_journal_is_no_backup_even_where_the_server_cannot_count(play: Play) -> None:
    made = play.school.snapshot()
    for number in range(12):
        write(made, uid_of(number))
    play.history = {"protocol": 1, **play.school.history}
    shutil.rmtree(play.journal)
    play.journal.mkdir()
    trouble = play.stopped()
    assert trouble.reason == "offer"
    assert "12 documents" in trouble.message


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the timer's run wait for nothing."""
    monkeypatch.setattr(backoff, "spread", lambda uniform: 0.0)
    real = backoff.wait
    monkeypatch.setattr(backoff, "wait", lambda *words: None if real(*words) is None else 0.0)


@pytest.mark.usefixtures("at_once")
def test_a_server_that_stays_busy_is_asked_seven_times_and_then_left_alone_for_the_day(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    def timer() -> int:
        play.answers = [Permission(503, "busy", None)] * 20
        cli_backup._run(play.state, argparse.Namespace(), threading.Event())
        return 20 - len(play.answers)

    assert timer() == 7
    assert "gave up for today after 7 attempts" in capsys.readouterr().out
    assert timer() == 0
    play.now += timedelta(days=1)
    assert timer() == 7


@pytest.mark.usefixtures("at_once")
def test_a_network_that_breaks_off_is_tried_again_by_the_next_timer(play: Play) -> None:
    play.school.cut_off_after(2000)
    cli_backup._run(play.state, argparse.Namespace(), threading.Event())
    assert play.state.read(backup.OUTCOME)["reason"] == "network"
    play.school.cut_off_after(None)
    cli_backup._run(play.state, argparse.Namespace(), threading.Event())
    assert play.is_equal()
