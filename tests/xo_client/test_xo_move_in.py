# SPDX-License-Identifier: GPL-3.0-or-later
"""How one document takes another's place, where the file system or a child does what one does not expect."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from server_side import look, uid_of, write
from xo_client import journal, move_in, rebuild, restore_plan
from xo_client.datastore_service import Service
from xo_client.state import State

UID, OTHER = uid_of(1), uid_of(2)
DAY = "2026-11-26"


class Table:
    def __init__(self, top: Path) -> None:
        self.profile = top / "profile"
        self.journal = self.profile / "datastore"
        self.journal.mkdir(parents=True)
        self.state = State(self.profile)
        self.work = self.profile / "xo-client" / "restore"
        self.service = Service(self.profile)

    def arrive(self, uid: str, **how: Any) -> Path:
        return write(self.work / "tree", uid, **how)

    def move_in(self, *uids: str, missing_only: bool = False) -> move_in.Moved:
        places = {uid: f"tree/{uid[:2]}/{uid}" for uid in uids}
        return move_in.move_in(
            self.state, self.journal, self.work, places, missing_only=missing_only, day=DAY, service=self.service,
            progress=lambda _number: None,
        )  # fmt: skip

    def titles(self) -> list[str]:
        return sorted(rebuild.title(journal.place(self.journal, uid)) for uid in journal.uids(self.journal))


def replace(entry: Path, data: bytes) -> None:
    """Let the document be what it was before the restore, as Sugar writes: new files in the place of the old."""
    shutil.rmtree(entry)
    write(entry.parent.parent, entry.name, title="Mine", data=data)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


def test_a_journal_that_sugar_has_never_opened_is_made(table: Table) -> None:
    table.journal.rmdir()
    table.arrive(UID, title="Poem")
    assert table.move_in(UID)[:2] == (1, 0)
    assert table.titles() == ["Poem"]


def test_the_same_version_is_left_as_it_is(table: Table) -> None:
    write(table.journal, UID, when=1_700_000_000)
    write(table.journal, OTHER, when=1_700_000_000)
    table.arrive(UID, when=1_700_000_000)
    table.arrive(OTHER, when=1_600_000_000, timestamp="1700000000", creation_time="1700000000")  # only copied anew
    before = look(table.journal)
    assert table.move_in(UID, OTHER)[:2] == (0, 0)
    assert {name: it for name, it in look(table.journal).items() if name != "version"} == before


def test_a_version_that_is_kept_already_is_not_kept_twice(table: Table) -> None:
    for data in (b"today's", b"another"):  # as long, and of the same second: a clock that starts in 1970 each day
        replace(write(table.journal, UID), data)
        table.arrive(UID, title="Back", data=b"back")
        table.move_in(UID)
        replace(journal.place(table.journal, UID), data)
        table.arrive(UID, title="Back", data=b"back")
        assert table.move_in(UID) == (1, 0, [])
    assert table.titles() == ["Back", f"Mine ({DAY})", f"Mine ({DAY})"]


def test_a_kept_version_that_a_child_has_changed_is_not_taken_for_it(table: Table) -> None:
    write(table.journal, UID, title="Mine", data=b"today's")
    table.arrive(UID, title="Back", data=b"back")
    table.move_in(UID)
    kept = next(entry for entry in table.journal.glob("??/*") if entry.name != UID)
    (kept / "data").unlink()  # as Sugar does: a new file in its place
    (kept / "data").write_bytes(b"changed")
    replace(journal.place(table.journal, UID), b"today's")
    table.arrive(UID, title="Back", data=b"back")
    assert table.move_in(UID).kept == 1
    assert sorted((entry / "data").read_bytes() for entry in table.journal.glob("??/*")) == [
        b"back",
        b"changed",
        b"today's",
    ]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMLINK])
def test_where_nothing_can_be_linked_it_is_copied(table: Table, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def link(*_args: object, **_named: object) -> None:
        raise OSError(number, "no links here")

    monkeypatch.setattr(os, "link", link)
    old = write(table.journal, UID, title="Mine", data=b"today's")
    files = restore_plan.files_of(journal.entry(table.journal, UID))
    assert old.is_dir()
    table.arrive(UID, title="Back", data=b"back")
    table.move_in(UID)
    kept = next(entry.name for entry in table.journal.glob("??/*") if entry.name != UID)
    assert restore_plan.files_of(journal.entry(table.journal, kept))["data"] == files["data"]
    assert table.titles() == ["Back", f"Mine ({DAY})"]


def test_where_nothing_can_be_exchanged_it_is_renamed_twice(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def __init__(self, *_args: object, **_named: object) -> None:
            pass

    monkeypatch.setattr(ctypes, "CDLL", Library)
    write(table.journal, UID, title="Mine")
    table.arrive(UID, title="Back", when=1_600_000_000)
    assert table.move_in(UID) == (1, 1, [])
    assert table.titles() == ["Back", f"Mine ({DAY})"]


def test_what_a_child_wrote_after_a_kill_is_kept_as_well(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_args: object) -> None:
        raise KeyboardInterrupt

    write(table.journal, UID, title="Mine")
    write(table.journal, OTHER, title="Mine too")
    table.arrive(UID, title="Back", when=1_600_000_000)
    table.arrive(OTHER, title="Back too", when=1_600_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(move_in, "_write_version", killed)  # both are in, and nothing is noted
        with pytest.raises(KeyboardInterrupt):
            table.move_in(UID, OTHER)
    write(table.journal, UID, title="Written since", when=1_800_000_000)
    assert move_in.finish(table.state, table.service)
    assert table.titles() == ["Back too", f"Mine ({DAY})", f"Mine too ({DAY})", "Written since"]
    assert not move_in.finish(table.state, table.service)
    assert not table.work.exists()


def test_todays_that_sugar_would_delete_is_set_aside_and_named(table: Table) -> None:
    broken = look(write(table.journal, UID, title="Broken", timestamp="1.5"))
    old = write(table.journal, OTHER, title="Old", ctime="2009-05-01T12:00:00")
    (old / "metadata" / "creation_time").unlink()
    table.arrive(UID, title="Whole")
    moved = table.move_in(UID)
    assert (moved.restored, moved.kept) == (1, 0)
    assert [(left.uid, left.title) for left in moved.left] == [(UID, "Broken")]
    assert look(table.profile / "xo-client" / "restore-aside" / UID) == broken
    assert table.titles() == ["Old", "Whole"]
    assert (old / "metadata" / "creation_time").exists()


def test_a_directory_that_sugar_is_about_to_remove_is_no_version(table: Table) -> None:
    (journal.place(table.journal, UID) / "metadata").mkdir(parents=True)
    table.arrive(UID, title="Back", when=1_600_000_000)
    assert table.move_in(UID).kept == 0
    assert table.titles() == ["Back"]


def test_what_came_meanwhile_is_left_alone_where_only_the_missing_come(table: Table) -> None:
    write(table.journal, UID, title="Mine")
    table.arrive(UID, title="Back", when=1_600_000_000)
    assert table.move_in(UID, missing_only=True) == (0, 0, [])
    assert table.titles() == ["Mine"]


def test_a_document_without_title_gets_one_when_it_is_kept(table: Table) -> None:
    (write(table.journal, UID) / "metadata" / "title").unlink()
    table.arrive(UID, title="Back", when=1_600_000_000)
    table.move_in(UID)
    assert table.titles() == ["Back", f"Untitled ({DAY})"]


def test_a_journal_without_version_is_no_journal_of_2008(table: Table) -> None:
    (table.journal / "store").mkdir()
    (table.journal / "store" / "precious").touch()
    table.arrive(UID)
    table.move_in(UID)
    assert (table.journal / "version").read_text() == "6"  # else Sugar would migrate `store`, and delete it
    assert (table.journal / "store" / "precious").exists()


def test_one_that_cannot_be_put_in_does_not_hold_the_others_up(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if Path(target) == journal.place(table.journal, UID):
            raise PermissionError(errno.EACCES, "Permission denied", str(target))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    table.arrive(UID, title="Kept out")
    table.arrive(OTHER, title="Back")
    moved = table.move_in(UID, OTHER)
    assert (moved.restored, [left.title for left in moved.left]) == (1, ["Kept out"])
    assert "Permission denied" in moved.left[0].why
    assert not move_in.finish(table.state, table.service)


def test_a_record_that_means_nothing_does_not_stop_every_backup(table: Table) -> None:
    table.state.write(move_in.RECORD, {"work": str(table.work)})
    assert not move_in.finish(table.state, table.service)
    assert not table.state.read(move_in.RECORD)
