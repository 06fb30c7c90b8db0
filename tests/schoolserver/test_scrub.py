# SPDX-License-Identifier: GPL-3.0-or-later
"""btrfs finds by itself what a disk has lost; which file that was we find."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rotting
import school
from schoolserver import btrfs, datastore, decay, scrub, snapshot
from schoolserver.decay import Decayed

S2 = "2026-11-24T101500Z"


@pytest.fixture
def tree(library: Path) -> Path:
    """Two snapshots, the second with a document that the first has not."""
    tree = school.make_tree(library / "users")
    for day in range(2):
        school.write_document(tree / "datastore-current", school.uid(day), rotting.noise())
        school.end_run(tree)
        assert snapshot.take(tree, school.day(day), library / "catalog.db")
    return tree


@contextmanager
def rotten(tree: Path, content: bytes) -> Iterator[None]:
    """Let the disk have lost a bit of `content` meanwhile: the file system is other tests' too."""
    rotting.rot(tree.parents[2], content[:4096])
    yield
    rotting.rot(tree.parents[2], bytes([content[0] ^ 0xFF]) + content[1:4096])


def verified(tree: Path) -> list[Decayed]:
    return [one for piece in scrub.pieces(tree.parent, "") for one in piece.decayed]


def test_a_sound_disk_is_read_to_its_end_and_nothing_is_said(tree: Path) -> None:
    pieces = list(scrub.pieces(tree.parent, ""))
    assert sum(piece.bytes for piece in pieces) > 2 * 64 * 1024
    assert [piece.decayed for piece in pieces] == [[]] * len(pieces)
    later = {piece.after for piece in scrub.pieces(tree.parent, pieces[-1].after)}  # what btrfs has begun to use since
    assert not later & {piece.after for piece in pieces}


def test_a_lost_bit_is_found_and_the_file_is_named_in_the_newest_snapshot_that_has_it(tree: Path) -> None:
    lost, sound = (
        next((tree / "datastore-current").glob(f"*/{school.uid(number)}/data")).read_bytes() for number in (0, 1)
    )
    with rotten(tree, lost):
        path = f"{tree.name}/datastore/{S2}/{school.uid(0)[:2]}/{school.uid(0)}/data"
        assert verified(tree) == [Decayed(path, decay.DISK)]
    assert verified(tree) == []
    assert sound != lost


def test_a_keepsake_that_no_snapshot_holds_any_more_is_named_too(tree: Path) -> None:
    incoming = tree / "datastore-current"
    lost = next(incoming.glob(f"*/{school.uid(0)}/data")).read_bytes()
    school.remove_document(incoming, school.uid(0))
    school.end_run(tree)
    newest = snapshot.take(tree, school.day(2), tree.parent.parent / "catalog.db")
    for stamp in datastore.snapshots(tree):
        if stamp != newest:
            btrfs.delete_subvolume(tree / "datastore" / stamp)
    with rotten(tree, lost):
        assert verified(tree) == [Decayed(f"{tree.name}/keepsakes/{school.uid(0)}/{S2}/data", decay.DISK)]


def test_what_came_since_the_last_snapshot_is_named_where_it_came(tree: Path) -> None:
    place = f"datastore-current/{school.uid(2)[:2]}/{school.uid(2)}/data"
    school.write_document(tree / "datastore-current", school.uid(2), rotting.noise())
    with rotten(tree, (tree / place).read_bytes()):
        assert verified(tree) == [Decayed(f"{tree.name}/{place}", decay.DISK)]


def test_a_session_that_exchanges_what_is_looked_at_leads_the_reader_nowhere(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incoming, secret = tree / "datastore-current", tree.parent / "secret"
    school.write_document(incoming, school.uid(2), rotting.noise())
    entry = next(incoming.glob(f"*/{school.uid(2)}"))
    lost = (entry / "data").read_bytes()
    secret.mkdir()
    path_of, moved = btrfs.path_of, list[str]()

    def exchange(subvolume: int, inode: int) -> str:
        path = path_of(subvolume, inode)
        if path == os.path.relpath(entry / "data", incoming) and not entry.is_symlink():
            entry.rename(incoming / "away")
            entry.symlink_to(secret)
            moved.append(path)
        return path

    os.mkfifo(secret / "data")  # whoever opened and read this would wait for ever
    monkeypatch.setattr(btrfs, "path_of", exchange)
    with rotten(tree, lost):
        (said,) = verified(tree)
        assert moved
        assert (said.path, said.why.endswith("blocks of no file that the server keeps")) == ("", True)


CHUNKS = st.lists(st.builds(scrub.Chunk, st.integers(1, 3), st.integers(0, 50), st.just(0), st.just(1)), unique=True)


@given(CHUNKS, st.data())
def test_a_pass_goes_on_behind_what_it_has_done(found: list[scrub.Chunk], data: st.DataObject) -> None:
    ordered = sorted(found, key=lambda chunk: (chunk.device, chunk.start))
    assert scrub.remaining(ordered, "") == ordered
    if ordered:
        number = data.draw(st.integers(0, len(ordered) - 1))
        assert scrub.remaining(ordered, ordered[number].place) == ordered[number + 1 :]


@pytest.mark.parametrize("after", ["SHC11111111", "1", ":", "1:x", "-1:5", "²:³"])
def test_a_place_that_is_none_is_the_beginning(after: str) -> None:
    chunk = scrub.Chunk(1, 0, 0, 1)
    assert scrub.remaining([chunk], after) == [chunk]
