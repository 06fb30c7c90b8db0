# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Journal on the disk holds, and what Sugar is writing in it at this moment."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from xo_client import journal

NOW = 1_790_000_000.0


def write(datastore: Path, data: bytes | None = b"text", promised: int | None = None, **more: str) -> str:
    uid = str(uuid.uuid4())
    metadata = journal.place(datastore, uid) / "metadata"
    metadata.mkdir(parents=True)
    size = len(data or b"") if promised is None else promised
    for key, value in {"uid": uid, "title": "Poem", "filesize": str(size), **more}.items():
        (metadata / key).write_text(value)
    if data is not None:
        (metadata.parent / "data").write_bytes(data)
    for file in (*metadata.iterdir(), metadata.parent / "data"):
        if file.exists():
            os.utime(file, (NOW - 5, NOW - 5))
    return uid


def flux(datastore: Path, now: float = NOW) -> set[str]:
    return journal.in_flux(journal.entries(datastore), now)


def test_a_document_is_what_stands_under_its_uid(tmp_path: Path) -> None:
    uid = write(tmp_path)
    (tmp_path / "index").mkdir()
    (tmp_path / "zz" / "no-uid").mkdir(parents=True)
    (tmp_path / "version").write_text("6")
    found = journal.entries(tmp_path)
    assert set(found) == {uid}
    assert [name for name, _, _ in found[uid].files] == ["data", "metadata/filesize", "metadata/title", "metadata/uid"]
    assert flux(tmp_path) == set()


def test_an_empty_journal_and_none_at_all_hold_nothing(tmp_path: Path) -> None:
    assert journal.entries(tmp_path) == {}
    assert journal.entries(tmp_path / "datastore") == {}


def test_data_shorter_than_promised_is_being_copied(tmp_path: Path) -> None:
    uid = write(tmp_path, b"half", promised=8)
    assert flux(tmp_path) == {uid}


def test_data_that_did_not_come_yet_is_being_copied(tmp_path: Path) -> None:
    uid = write(tmp_path, None, promised=8)
    assert flux(tmp_path) == {uid}


def test_an_entry_without_data_is_whole(tmp_path: Path) -> None:
    write(tmp_path, None)
    assert flux(tmp_path) == set()


def test_a_property_under_its_dotted_name_is_being_written(tmp_path: Path) -> None:
    uid = write(tmp_path)
    half = journal.place(tmp_path, uid) / "metadata" / ".title"
    half.write_text("Po")
    os.utime(half, (NOW - 1, NOW - 1))
    assert flux(tmp_path) == {uid}


def test_an_entry_that_has_nothing_but_data_yet_is_being_written(tmp_path: Path) -> None:
    uid = str(uuid.uuid4())
    top = journal.place(tmp_path, uid)
    top.mkdir(parents=True)
    (top / "data").write_bytes(b"text")
    os.utime(top / "data", (NOW, NOW))
    assert flux(tmp_path) == {uid}


@pytest.mark.parametrize("leap", [3600, -3600])
def test_what_stays_unfinished_is_damaged_and_is_sent_before_it_is_lost(tmp_path: Path, leap: int) -> None:
    write(tmp_path, b"half", promised=8)
    assert flux(tmp_path, NOW + leap) == set()


def test_a_change_is_seen_by_size_and_by_time(tmp_path: Path) -> None:
    uid = write(tmp_path)
    before = journal.entry(tmp_path, uid)
    (journal.place(tmp_path, uid) / "data").write_bytes(b"TEXT")
    assert journal.entry(tmp_path, uid) != before


def test_a_link_to_somewhere_else_is_no_file_of_a_document(tmp_path: Path) -> None:
    uid = write(tmp_path)
    (journal.place(tmp_path, uid) / "metadata" / "secret").symlink_to("/etc/passwd")
    assert "metadata/secret" not in [name for name, _, _ in journal.entry(tmp_path, uid).files]


@pytest.mark.parametrize("kind", ["pipe", "endless"])
def test_what_is_no_file_holds_no_run(tmp_path: Path, kind: str) -> None:
    size = journal.place(tmp_path, write(tmp_path)) / "metadata" / "filesize"
    size.unlink()
    if kind == "pipe":
        os.mkfifo(size)
    else:
        size.symlink_to("/dev/zero")
    assert flux(tmp_path) == set()
