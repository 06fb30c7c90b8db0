# SPDX-License-Identifier: GPL-3.0-or-later
"""What the link engine makes of what the disk does not give back; test_snapshot_survival has disks that are worn."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import school
from schoolserver import copying
from schoolserver.engines import DATASTORE, Place, links
from schoolserver.engines.links import Links

ONE, TWO = school.uid(1), school.uid(2)
DATA = ("01", ONE, "data")


class WornOut:
    """From now on each file or directory in incoming that has one of these names is unreadable."""

    def __init__(self, patch: pytest.MonkeyPatch, incoming: Path) -> None:
        self.names: set[str] = set()
        self._incoming = incoming
        copy, listed, can_be_read = copying.copy, links._listed, links._can_be_read

        def worn_copy(source: int, target: str, status: os.stat_result, *, inside: int) -> None:
            self._refuse(source, target)
            copy(source, target, status, inside=inside)

        def worn_listing(directory: int) -> object:
            self._refuse(directory, Path(os.readlink(f"/proc/self/fd/{directory}")).name)
            return listed(directory)

        def worn_probe(name: str, directory: int) -> bool:
            return not (self._is_incoming(directory) and name in self.names) and can_be_read(name, directory)

        patch.setattr(copying, "copy", worn_copy)
        patch.setattr(links, "_listed", worn_listing)
        patch.setattr(links, "_can_be_read", worn_probe)

    def _is_incoming(self, descriptor: int) -> bool:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_relative_to(self._incoming)

    def _refuse(self, descriptor: int, name: str) -> None:
        if name in self.names and self._is_incoming(descriptor):
            raise OSError(errno.EIO, "Input/output error")


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    incoming = tmp_path / "incoming"
    Links().make_incoming(incoming, school.LEARNER, DATASTORE)
    for uid in (ONE, TWO):
        school.write_document(incoming, uid, b"first words")
    return incoming


@pytest.fixture
def worn(incoming: Path, monkeypatch: pytest.MonkeyPatch) -> WornOut:
    return WornOut(monkeypatch, incoming)


def take(incoming: Path, name: str, previous: str | None = None) -> tuple[dict[str, bytes], list[Place]]:
    new = incoming.parent / name
    unread = Links().take(incoming, new, incoming.parent / previous if previous else None, DATASTORE)
    return school.contents(new), unread


def test_what_can_be_read_is_taken_and_nothing_is_said(incoming: Path, worn: WornOut) -> None:
    assert take(incoming, "one") == (school.contents(incoming), [])


@pytest.mark.parametrize("name", ["data", "title", "metadata"])
def test_a_document_is_as_before_in_all_its_files(incoming: Path, worn: WornOut, name: str) -> None:
    first, _ = take(incoming, "one")
    school.write_document(incoming, ONE, b"second words", 1_790_000_500, title="Another title")
    worn.names = {name}
    second, unread = take(incoming, "two", "one")
    assert second == first
    assert ("01", ONE) in [place[:2] for place in unread]
    assert {place[-1] for place in unread} == {name}
    worn.names.clear()
    assert take(incoming, "three", "two") == (school.contents(incoming), [])


def test_what_is_as_before_takes_no_room(incoming: Path, worn: WornOut) -> None:
    take(incoming, "one")
    school.write_document(incoming, ONE, b"second words", 1_790_000_500)
    worn.names = {"data"}
    take(incoming, "two", "one")
    one, two = (incoming.parent.joinpath(name, *DATA).stat().st_ino for name in ("one", "two"))
    assert one == two


def test_each_file_of_a_document_that_is_bad_is_named(incoming: Path, worn: WornOut) -> None:
    worn.names = {"data", "title"}
    snapshot, unread = take(incoming, "one")
    assert list(snapshot) == []
    assert sorted(unread) == sorted(
        place for uid in (ONE, TWO) for place in ((uid[:2], uid, "data"), (uid[:2], uid, "metadata", "title"))
    )


def test_a_document_that_was_not_there_before_is_left_out_whole(incoming: Path, worn: WornOut) -> None:
    school.remove_document(incoming, ONE)
    first, _ = take(incoming, "one")
    school.write_document(incoming, ONE, b"words")
    worn.names = {"data"}
    assert take(incoming, "two", "one") == (first, [DATA])


def test_a_directory_whose_names_cannot_be_read_is_as_before(incoming: Path, worn: WornOut) -> None:
    take(incoming, "one")
    for uid in (ONE, TWO):
        school.write_document(incoming, uid, b"second words", 1_790_000_500)
    worn.names = {"01"}
    snapshot, unread = take(incoming, "two", "one")
    assert unread == [("01",)]
    assert [snapshot[f"{uid[:2]}/{uid}/data"] for uid in (ONE, TWO)] == [b"first words", b"second words"]


def test_where_nothing_can_be_listed_there_is_no_snapshot(incoming: Path, worn: WornOut) -> None:
    worn.names = {"incoming"}
    with pytest.raises(OSError, match="Input/output error"):
        take(incoming, "one")


def test_a_file_outside_of_documents_stands_for_itself(incoming: Path, worn: WornOut) -> None:
    take(incoming, "one")
    (incoming / "letter").write_text("dear")
    school.write_document(incoming, ONE, b"second words", 1_790_000_500)
    worn.names = {"letter"}
    snapshot, unread = take(incoming, "two", "one")
    assert unread == [("letter",)]
    assert "letter" not in snapshot
    assert snapshot["/".join(DATA)] == b"second words"


def test_a_disk_that_takes_nothing_more_is_no_bad_file(incoming: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: int, target: str, status: os.stat_result, *, inside: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(copying, "copy", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        take(incoming, "one")


def test_a_full_disk_is_no_bad_file(incoming: Path, worn: WornOut, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: int, target: str, status: os.stat_result, *, inside: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(copying, "copy", full)
    worn.names = {"data"}
    with pytest.raises(OSError, match="No space left"):
        take(incoming, "one")


def test_what_cannot_be_read_in_either_is_left_out(incoming: Path, worn: WornOut, tmp_path: Path) -> None:
    take(incoming, "one")
    school.write_document(incoming, ONE, b"second words", 1_790_000_500)
    worn._incoming = tmp_path  # incoming, and the snapshots with it
    worn.names = {"01"}
    snapshot, unread = take(incoming, "two", "one")
    assert unread == [("01",)]
    assert not [path for path in snapshot if path.startswith("01/")]
