# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import school
from laptops import ANN, EVE, JIM, after, request
from schoolserver import catalog, local_server, local_socket, registry, snapshot, ticket_socket, timeline
from schoolserver.errors import Refusal
from schoolserver.ticket_socket import Asked
from schoolserver.tickets import Tickets

LINK = "http://schoolserver/journal/open/"
ONE, TWO = school.uid(1), school.uid(2)
S1, S2 = "2026-11-23T101500Z", "2026-11-24T101500Z"
# What asks as another uid: from within the directory, for pytest's are root's.
ASK = """
import json, os, sys
from schoolserver import local_socket
os.setresuid(*[int(sys.argv[1])] * 3)
print(json.dumps(local_socket.ask("ticket", json.loads(sys.argv[2]), 5)))
"""


@pytest.fixture
def asked(library: Path) -> Asked:
    """Jim has two laptops, each with its own uid; Eve is another child."""
    file = library / "catalog.db"
    known = after(request(JIM, 0), request(ANN, 1), request(EVE, 2)).accounts
    known = {**known, ANN: replace(known[ANN], learner=JIM)}
    registry.write(library / "registry.db", known.values(), 0)
    for name in (JIM, ANN, EVE):
        tree = school.make_tree(library / "users", name, known[name].uid)
        school.write_document(tree / "datastore-current", ONE, b"five!")
        run(tree, 0, file)
    school.write_document(library / "users" / JIM / "datastore-current", TWO, b"four")
    run(library / "users" / JIM, 1, file)
    return Asked(Tickets(600, 3600), LINK, library / "registry.db", file)


def run(tree: Path, day: int, file: Path) -> None:
    school.end_run(tree)
    assert snapshot.take(tree, school.day(day), file)


def uid_of(asked: Asked, tree: str) -> int:
    uid = registry.uid_of(tree, asked.registry)
    assert uid is not None
    return uid


def test_a_ticket_goes_to_the_trees_own_gate_and_to_root(asked: Asked) -> None:
    for uid in (0, uid_of(asked, JIM)):
        answer = asked({"tree": JIM}, uid)
        assert (answer["ok"], answer["seconds"]) == (True, 600)
        assert asked.tickets.redeem(answer["url"].removeprefix(LINK), time.monotonic())


@pytest.mark.parametrize("more", [{}, {"history": JIM}], ids=["ticket", "history"])
@pytest.mark.parametrize("tree", [JIM, "SHC00000000", None, ["x"], "\ud800"])
def test_nothing_goes_to_anybody_else(asked: Asked, tree: object, more: dict[str, str]) -> None:
    with pytest.raises(Refusal):
        asked({"tree": tree, **more}, uid_of(asked, EVE))


def test_what_each_snapshot_holds_is_counted(asked: Asked) -> None:
    jim = uid_of(asked, JIM)
    assert asked({"tree": JIM, "history": JIM}, jim) == {"ok": True, "snapshots": {S1: (1, 5), S2: (2, 9)}}
    assert asked({"tree": JIM, "history": ANN}, jim)["snapshots"] == {S1: (1, 5)}, "her other laptop's"


@pytest.mark.parametrize("wanted", [EVE, "SHC00000000", "", None, 7, [JIM], {}])
def test_nobody_hears_of_a_classmates_snapshots(asked: Asked, wanted: object) -> None:
    with pytest.raises(Refusal, match=f"^this is no tree of the learner of {JIM}$"):
        asked({"tree": JIM, "history": wanted}, uid_of(asked, JIM))


def test_who_was_separated_hears_no_more(asked: Asked) -> None:
    registry.write(asked.registry, after(request(JIM, 0), request(ANN, 1)).accounts.values(), 0)
    with pytest.raises(Refusal):
        asked({"tree": JIM, "history": ANN}, uid_of(asked, JIM))


@pytest.fixture
def sockets(asked: Asked, tmp_path: Path) -> Iterator[Path]:
    """The directory with the socket where the real part answers."""
    tmp_path.chmod(0o711)

    def serve(listener: socket.socket) -> None:
        try:
            local_server.serve(listener, asked)
        except OSError:
            return  # the test closed it

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "ticket"))
        (tmp_path / "ticket").chmod(0o666)
        listener.listen()
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield tmp_path


def test_a_hostile_session_that_claims_a_classmates_tree_is_refused_by_what_the_kernel_says(
    asked: Asked, sockets: Path
) -> None:
    def ask_as(name: str, message: dict[str, str]) -> dict[str, object]:
        command = [sys.executable, "-c", ASK, str(uid_of(asked, name)), json.dumps(message)]
        package = {"PYTHONPATH": str(Path(ticket_socket.__file__).parent.parent)}
        done = subprocess.run(command, cwd=sockets, env=package, stdout=subprocess.PIPE, check=True)
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer

    assert ask_as(JIM, {"tree": JIM, "history": ANN}) == {"ok": True, "snapshots": {S1: [1, 5]}}
    for message in ({"tree": JIM, "history": JIM}, {"tree": EVE, "history": JIM}, {"tree": JIM}):
        assert ask_as(EVE, message)["ok"] is False


def test_a_snapshot_that_is_not_wholly_listed_is_left_out(asked: Asked) -> None:
    with closing(sqlite3.connect(asked.catalog)) as database, database:
        database.execute("UPDATE snapshots SET whole = 0 WHERE stamp = ?", (S2,))
    assert asked({"tree": JIM, "history": JIM}, 0)["snapshots"] == {S1: (1, 5)}


def test_without_a_catalog_there_is_no_answer_and_no_traceback(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.catalog.unlink()
    with pytest.raises(Refusal, match="try again later"):
        asked({"tree": JIM, "history": JIM}, 0)
    assert "cannot be counted: unable to open" in capsys.readouterr().err


def test_who_has_more_versions_than_can_be_counted_in_time_keeps_nobody_waiting(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket_socket, "_SECONDS", 0.05)
    with closing(sqlite3.connect(asked.catalog)) as database, database:
        database.execute("DROP TRIGGER words_come")
        database.execute(
            """WITH RECURSIVE days (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM days WHERE number < 300000)
            INSERT INTO versions SELECT ?, number, number, number, '', '', '', '', 1, 1, 0, '', '' FROM days""",
            (JIM,),
        )
    start = time.monotonic()
    with pytest.raises(Refusal, match="try again later"):
        asked({"tree": JIM, "history": JIM}, 0)
    with closing(catalog.reading(asked.catalog)) as database:
        counted = time.monotonic()
        timeline.held(database, JIM)
        assert time.monotonic() - counted > counted - start, "it would have taken longer"
    assert asked({"tree": EVE, "history": EVE}, 0)["snapshots"] == {S1: (1, 5)}


def test_the_newest_snapshots_of_a_tree_that_has_too_many_fit_in_one_line(asked: Asked) -> None:
    most = school.day(0)
    with closing(sqlite3.connect(asked.catalog)) as database, database:
        for day in range(timeline.MOST_HELD + 5):
            stamp = school.day(day).strftime("%Y-%m-%dT%H%M%SZ")
            database.execute("INSERT OR IGNORE INTO snapshots VALUES (?, ?, 1)", (EVE, stamp))
        query = "UPDATE versions SET last = ?, size = ? WHERE tree = ?"
        database.execute(query, (stamp, 20_000 * 4 * 1024**3, EVE))
    here, there = socket.socketpair()
    with here, there:
        local_socket.send(here, {"tree": EVE, "history": EVE})
        threading.Thread(target=local_server.reply_to, args=(there, asked)).start()
        held = local_socket.receive(here)["snapshots"]
    assert (len(held), max(held)) == (timeline.MOST_HELD, stamp)
    assert most.strftime("%Y-%m-%dT%H%M%SZ") not in held
