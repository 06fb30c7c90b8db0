# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the file system has no checksums, ours find what the disk has lost."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rotting
import school
from schoolserver import checksums, datastore, decay, keepsakes, snapshot
from schoolserver.decay import Decayed

S = [school.day(number).strftime("%Y-%m-%dT%H%M%SZ") for number in range(10)]
LOST = school.uid(1)
PATH = f"{LOST[:2]}/{LOST}/data"


@pytest.fixture(params=["ext4", "xfs"])
def tree(request: pytest.FixtureRequest, file_systems: Callable[[str], Path], tmp_path: Path) -> Path:
    """Two snapshots of two documents, of which one changed between them."""
    tree = school.make_tree(file_systems(request.param) / tmp_path.name / "users")
    for day in range(2):
        school.write_document(tree / "datastore-current", school.uid(0), f"day {day}".encode(), 1_790_000_000 + day)
        if not day:
            school.write_document(tree / "datastore-current", LOST, rotting.noise())
        take(tree, day)
    return tree


def take(tree: Path, day: int) -> None:
    school.end_run(tree)
    assert snapshot.take(tree, school.day(day), tree.parent.parent / "catalog.db")


def record(tree: Path, day: int = 2) -> list[decay.Piece]:
    return list(checksums.record(tree.parent, S[day]))


def verified(tree: Path, day: int = 3) -> list[Decayed]:
    return [one for piece in checksums.pieces(tree.parent, "", S[day]) for one in piece.decayed]


def read_bytes(pieces: Iterator[decay.Piece] | list[decay.Piece]) -> int:
    return sum(piece.bytes for piece in pieces)


def content(top: Path) -> int:
    """Return the bytes of all files below `top`, each once whatever number of names it has."""
    found = {path.stat().st_ino: path.stat().st_size for path in top.rglob("*") if path.is_file()}
    return sum(found.values())


def test_what_is_recorded_is_read_once_whatever_number_of_snapshots_have_it(tree: Path) -> None:
    assert read_bytes(record(tree)) == content(tree / "datastore")
    assert read_bytes(record(tree)) == 0
    take(tree, 4)
    new = [path for path in (tree / "datastore" / S[4]).rglob("*") if path.is_file() and path.stat().st_nlink == 1]
    assert read_bytes(record(tree)) == sum(path.stat().st_size for path in new)


def test_sound_files_are_verified_and_nothing_is_said(tree: Path) -> None:
    record(tree)
    pieces = list(checksums.pieces(tree.parent, "", S[3]))
    assert read_bytes(pieces) == content(tree / "datastore")
    assert [one for piece in pieces for one in piece.decayed] == []
    assert pieces[-1].after == tree.name
    assert list(checksums.pieces(tree.parent, tree.name, S[3])) == []


def test_a_lost_bit_is_found_in_each_pass_and_named_in_the_newest_snapshot(tree: Path) -> None:
    record(tree)
    stored = (tree / "datastore" / S[1] / PATH).read_bytes()
    rotting.rot(tree.parents[2], stored)
    lost = [Decayed(f"{tree.name}/datastore/{S[1]}/{PATH}", decay.CHANGED)]
    assert verified(tree, 3) == lost
    assert verified(tree, 4) == lost
    rotting.rot(tree.parents[2], bytes([stored[0] ^ 0xFF]) + stored[1:])
    assert verified(tree, 5) == []


def test_a_snapshot_that_somebody_changed_is_found_too(tree: Path) -> None:
    record(tree)
    (tree / "datastore" / S[0] / school.uid(0)[:2] / school.uid(0) / "data").write_bytes(b"day 9")
    assert [one.path.split("/")[2] for one in verified(tree)] == [S[0]]


def test_keepsakes_are_verified_too(tree: Path) -> None:
    school.remove_document(tree / "datastore-current", LOST)
    take(tree, 2)
    record(tree)
    (tree / keepsakes.DIRECTORY / LOST / S[1] / "data").write_bytes(b"something else")
    assert [one.path for one in verified(tree)] == [f"{tree.name}/{keepsakes.DIRECTORY}/{LOST}/{S[1]}/data"]


@pytest.mark.parametrize(("call", "bad"), [("read", PATH), ("scandir", LOST[:2]), ("scandir", "")])
def test_what_the_disk_does_not_give_back_is_named_and_the_rest_is_verified(
    tree: Path, monkeypatch: pytest.MonkeyPatch, call: str, bad: str
) -> None:
    record(tree)
    number = (tree / "datastore" / S[1] / bad).stat().st_ino
    real = getattr(os, call)

    def worn(descriptor: int | Path, *rest: int) -> object:
        if isinstance(descriptor, int) and os.fstat(descriptor).st_ino == number:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, *rest)

    monkeypatch.setattr(os, call, worn)
    (tree / "datastore" / S[0] / school.uid(0)[:2] / school.uid(0) / "data").write_bytes(b"changed")
    assert verified(tree) == [
        Decayed(f"{tree.name}/datastore/{S[1]}/{bad}".rstrip("/"), decay.DISK),
        Decayed(f"{tree.name}/datastore/{S[0]}/{school.uid(0)[:2]}/{school.uid(0)}/data", decay.CHANGED),
    ]


def test_a_pass_that_is_cut_off_reads_nothing_twice(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tree)
    monkeypatch.setattr(checksums, "_PIECE_BYTES", 1)
    cut = checksums.pieces(tree.parent, "", S[3])
    done = read_bytes([next(cut) for _ in range(5)])
    cut.close()
    assert 0 < done < content(tree / "datastore")
    assert done + read_bytes(checksums.pieces(tree.parent, "", S[3])) == content(tree / "datastore")


def test_what_rotation_took_is_forgotten_and_a_file_with_its_number_is_a_new_one(tree: Path) -> None:
    record(tree)
    shutil.rmtree(tree / "datastore" / S[0])
    assert verified(tree) == []
    record(tree)
    with sqlite3.connect(tree / checksums.FILE) as database:
        numbers = {number for (number,) in database.execute("SELECT inode FROM files")}
        places = [name for (name,) in database.execute("SELECT name FROM places")]
        assert numbers == {p.stat().st_ino for p in (tree / "datastore" / S[1]).rglob("*") if p.is_file()}
        assert places == [f"datastore/{S[1]}"]
        database.execute("UPDATE files SET generation = generation + 1, digest = x'00'")
    database.close()
    assert verified(tree, 4) == []


def test_what_came_during_a_pass_stays_recorded(tree: Path) -> None:
    record(tree, 2)
    under_way = checksums.pieces(tree.parent, "", S[3])
    next(under_way)
    take(tree, 4)
    record(tree, 4)
    list(under_way)
    (tree / "datastore" / S[4] / "version").write_text("7")
    assert [one.path for one in verified(tree, 5)] == [f"{tree.name}/datastore/{S[4]}/version"]


def test_a_damaged_record_is_set_aside_and_nothing_is_called_decayed(tree: Path) -> None:
    record(tree)
    (tree / checksums.FILE).write_bytes(b"no database" * 1000)
    assert verified(tree) == []
    assert (tree / f"{checksums.FILE}.damaged").exists()
    assert (tree / checksums.FILE).stat().st_mode & 0o777 == 0o600
    assert datastore.trees(tree.parent) == [tree]
