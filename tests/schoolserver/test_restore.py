# SPDX-License-Identifier: GPL-3.0-or-later
"""`xs restore`: what a technician brings back, and that it is there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import school
from laptops import ANN, JIM, dsa, message
from schoolserver import acts, cli, cli_restore, copying, datastore, paths, registrar, restore, snapshot
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from schoolserver.house import House
from standing import make_house

STORY, DRAWING, POEM = school.uid(1), school.uid(2), school.uid(3)
S1, S2 = "2026-11-23T101500Z", "2026-11-24T101500Z"
Xs = Callable[..., tuple[int, str, str]]


def run(here: House, tree: str, day: int) -> None:
    school.end_run(here.users / tree)
    assert snapshot.take(here.users / tree, school.day(day), here.state / "catalog.db")


@pytest.fixture
def here(any_library: Path) -> House:
    """Jim had three documents; the next day one is changed and one deleted. Ann's laptop, joined to him, has a poem."""
    here = make_house(any_library)
    registrar.register(message(JIM, dsa(0)), here)
    registrar.register(message(ANN, dsa(1)), here)
    incoming = here.users / JIM / "datastore-current"
    school.write_document(incoming, STORY, b"first words", title="मेरो घर")
    school.write_document(incoming, DRAWING, b"lines", title="Turtle\x1b[2J", preview=school.PNG)
    run(here, JIM, 0)
    school.write_document(incoming, STORY, b"second words", 1_790_000_099, title="मेरो घर")
    school.remove_document(incoming, DRAWING)
    run(here, JIM, 1)
    school.write_document(here.users / ANN / "datastore-current", POEM, b"rain")
    run(here, ANN, 1)
    acts.approve(here, ANN, JIM, Who("maria"))
    subprocess.run(["chown", "-R", "20000:20000", str(incoming)], check=True)  # as rsync, which runs as the learner
    return here


@pytest.fixture
def xs(here: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Xs:
    """Runs `xs restore` with these words and returns exit code, output and errors."""
    monkeypatch.setattr(cli_restore, "House", lambda: here)
    monkeypatch.setattr(paths, "USERS", here.users)
    monkeypatch.setattr(snapshot.take, "__defaults__", (here.state / "catalog.db",))

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["xs", "restore", *words])
        code = cli.main()
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def data(top: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in top.glob("*/*/data")}


def test_the_list_shows_what_there_is_and_writes_on_no_terminal(xs: Xs) -> None:
    code, out, _ = xs(JIM, "--deleted")
    assert code == 0
    assert "\x1b" not in out
    assert [line.split()[0] for line in out.splitlines()[1:-1]] == [STORY, DRAWING, POEM]
    assert "(left the Journal)" in next(line for line in out.splitlines() if line.startswith(DRAWING))
    listed = json.loads(xs(JIM, "--json")[1])["documents"]
    assert {one["uid"]: (one["tree"], one["title"]) for one in listed} == {
        STORY: (JIM, "मेरो घर"),
        POEM: (ANN, "Story 03"),
    }


def test_everything_comes_back_as_a_datastore(xs: Xs, tmp_path: Path) -> None:
    target = tmp_path / "back"
    assert xs(JIM, "--everything", "--to", str(target))[:2] == (0, f"{target}: 2 documents\n")
    assert data(target) == {STORY: b"second words", POEM: b"rain"}
    assert (target / "version").read_text() == "6"
    assert datastore.entries(target) == {STORY: True, POEM: True}
    assert (target / STORY[:2] / STORY / "data").stat().st_mtime == 1_790_000_099


def test_every_document_ever_seen_comes_back_byte_for_byte(xs: Xs, tmp_path: Path) -> None:
    assert xs(JIM, "--everything", "--deleted", "--to", str(tmp_path / "back"))[0] == 0
    assert data(tmp_path / "back") == {STORY: b"second words", DRAWING: b"lines", POEM: b"rain"}


def test_after_a_loss_every_document_comes_back_as_it_was_last_with_those_written_since(
    here: House, xs: Xs, tmp_path: Path
) -> None:
    incoming = here.users / JIM / "datastore-current"
    for number in range(10, 22):
        school.write_document(incoming, school.uid(number))
    run(here, JIM, 2)
    for number in range(10, 22):
        school.remove_document(incoming, school.uid(number))
    run(here, JIM, 3)
    assert restore.chosen(here.users / JIM, restore.BEST) == "2026-11-25T101500Z"
    school.write_document(incoming, STORY, b"third words", 1_790_000_199)
    school.write_document(incoming, school.uid(30), b"written since")
    run(here, JIM, 4)
    assert xs(JIM, "--everything", "--deleted", "--to", str(tmp_path / "back"))[0] == 0
    back = data(tmp_path / "back")
    assert (back[STORY], back[school.uid(30)], back[school.uid(10)]) == (b"third words", b"written since", b"words")
    assert len(back) == 3 + 12 + 1


@pytest.mark.parametrize("when", ["2026-11-23", S1])
def test_a_day_can_be_chosen(xs: Xs, tmp_path: Path, when: str) -> None:
    assert xs(JIM, "--everything", "--when", when, "--to", str(tmp_path / "back"))[0] == 0
    assert data(tmp_path / "back") == {STORY: b"first words", DRAWING: b"lines"}


def test_after_a_reflash_the_last_snapshot_before_it_is_what_comes_back(here: House, xs: Xs, tmp_path: Path) -> None:
    incoming = here.users / JIM / "datastore-current"
    for number in range(20, 40):
        school.write_document(incoming, school.uid(number))
    run(here, JIM, 2)
    for number in (1, *range(20, 40)):
        school.remove_document(incoming, school.uid(number))
    run(here, JIM, 3)
    assert xs(JIM, "--everything", "--to", str(tmp_path / "best"))[0] == 0
    assert len(data(tmp_path / "best")) == 22
    assert xs(JIM, "--everything", "--when", "latest", "--to", str(tmp_path / "latest"))[0] == 0
    assert set(data(tmp_path / "latest")) == {POEM}


def test_one_document_comes_back_as_a_bundle_that_sugar_takes(xs: Xs, tmp_path: Path) -> None:
    target = tmp_path / "turtle.xoj"
    assert xs(JIM, "--document", DRAWING, "--to", str(target))[0] == 0
    with zipfile.ZipFile(target) as archive:
        assert archive.read(f"{DRAWING}/{DRAWING}") == b"lines"
        assert archive.read(f"{DRAWING}/preview/{DRAWING}") == school.PNG


def test_one_document_comes_back_as_it_was_on_a_day(xs: Xs, tmp_path: Path) -> None:
    assert xs(JIM, "--document", STORY, "--when", "2026-11-23", "--to", str(tmp_path / "back"))[0] == 0
    assert data(tmp_path / "back") == {STORY: b"first words"}


def test_what_was_lost_waits_in_the_latest_snapshot_for_the_laptops_own_restore(here: House, xs: Xs) -> None:
    code, out, err = xs(JIM, "--everything", "--deleted", "--to-incoming")
    assert err == ""
    assert (code, out.splitlines()[0].split(",")[0]) == (0, f"datastore-latest of {JIM}")
    latest = here.users / JIM / "datastore-latest"
    assert data(latest) == {STORY: b"second words", DRAWING: b"lines", POEM: b"rain"}
    owners = {path.stat().st_uid for path in (here.users / JIM / "datastore-current").glob("*/*/data")}
    assert 20000 in owners
    assert not (here.users / JIM / ".restoring").exists()


def test_a_link_that_a_laptop_left_in_incoming_leads_the_restore_nowhere(here: House, xs: Xs, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    incoming = here.users / JIM / "datastore-current"
    (incoming / DRAWING[:2]).rmdir()
    (incoming / DRAWING[:2]).symlink_to(victim)
    assert xs(JIM, "--document", DRAWING, "--to-incoming")[0] == 1
    assert list(victim.iterdir()) == []


def test_nothing_that_is_there_is_written_over(xs: Xs, tmp_path: Path) -> None:
    for words in (["--everything", "--to", str(tmp_path)], ["--document", STORY, "--to", __file__]):
        code, _, err = xs(JIM, *words)
        assert code == 1
        assert "is there already" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["SHC99999999"], "no laptop is registered as 'SHC99999999'"),
        ([JIM, "--document", "../../etc/passwd"], "is no document's uid"),
        ([JIM, "--document", school.uid(99)], "the server has no copy of"),
        ([JIM, "--when", "yesterday"], "'yesterday' is no time"),
        ([JIM, "--to", "/nowhere/at/all"], "say what to bring back"),
        ([JIM, "--everything", "--to", "/nowhere/at/all"], "there is no directory /nowhere/at"),
        ([JIM, "--everything", "--when", "2001-01-01", "--to", "/nowhere"], "there is nothing of"),
        ([JIM, "--everything", "--to", "/tmp/x.xoj"], "a .xoj holds one document"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(xs: Xs, words: list[str], said: str) -> None:
    code, _, err = xs(*words)
    assert code == 1
    assert said in err
    assert len(err.splitlines()) == 1


def test_where_the_disk_is_full_nothing_half_done_is_left(
    here: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    copies = restore.everything(here.users, [JIM, ANN], restore.BEST)
    monkeypatch.setattr(copying, "copy", full)
    with pytest.raises(OSError, match="No space left"):
        restore.to_directory(here.users, copies, tmp_path / "back", lambda *_: None)
    assert list(tmp_path.iterdir()) == []


def test_a_document_that_cannot_be_read_is_named_and_the_others_come_back(
    here: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(source: int, target: int, status: os.stat_result, copy: Callable[..., None] = copying.copy) -> None:
        if status.st_size == len(b"rain"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        copy(source, target, status)

    monkeypatch.setattr(copying, "copy", unreadable)
    copies = restore.everything(here.users, [JIM, ANN], restore.BEST)
    failed = restore.to_directory(here.users, copies, tmp_path / "back", lambda *_: None)
    assert [copy.uid for copy, _ in failed] == [POEM]
    assert data(tmp_path / "back")[STORY] == b"second words"


def test_a_session_under_way_is_not_disturbed(here: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_LOCK_TRIES", 1)
    with snapshot.held(here.users / JIM), pytest.raises(Refusal, match="session is under way"):  # noqa: SIM117
        with snapshot.held(here.users / JIM):
            pass
