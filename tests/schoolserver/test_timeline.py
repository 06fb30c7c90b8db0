# SPDX-License-Identifier: GPL-3.0-or-later
"""One timeline over all trees of a learner: an old laptop, and the one that took its place."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

import school
from schoolserver import catalog, snapshot, timeline
from schoolserver.timeline import Version

OLD, NEW = "SHC11111111", "SHC22222222"
STORY, DRAWING, POEM = school.uid(1), school.uid(2), school.uid(3)


class Laptops:
    """The two trees, on btrfs, with their catalog."""

    def __init__(self, library: Path) -> None:
        self.users = library / "users"
        self.catalog = library / "catalog.db"
        self.tree = {OLD: school.make_tree(self.users, OLD), NEW: school.make_tree(self.users, NEW, 20001)}

    def run(self, name: str, day: int) -> str:
        school.end_run(self.tree[name])
        stamp = snapshot.take(self.tree[name], school.day(day), self.catalog)
        assert stamp is not None
        return stamp

    def write(self, name: str, uid: str, data: bytes = b"words", when: int = 1_790_000_000) -> None:
        school.write_document(self.tree[name] / "datastore-current", uid, data, when)

    def remove(self, name: str, uid: str) -> None:
        school.remove_document(self.tree[name] / "datastore-current", uid)

    def give_back(self) -> None:
        """The new laptop gets the old documents, as a restore does."""
        shutil.copytree(self.tree[OLD] / "datastore-latest", self.tree[NEW] / "datastore-current", dirs_exist_ok=True)

    def documents(self, *trees: str, gone: bool = False) -> dict[str, Version]:
        with closing(catalog.reading(self.catalog)) as database:
            found = timeline.documents(database, list(trees), 0, 100, gone)
            assert timeline.count(database, list(trees), gone) == len(found)
        assert len({version.uid for version in found}) == len(found), "each document once"
        return {version.uid: version for version in found}

    def versions(self, uid: str) -> list[tuple[str, str]]:
        with closing(catalog.reading(self.catalog)) as database:
            return [(one.tree, one.last) for one in timeline.versions(database, [OLD, NEW], uid)]


@pytest.fixture
def laptops(library: Path) -> Laptops:
    laptops = Laptops(library)
    for uid in (STORY, DRAWING):
        laptops.write(OLD, uid)
    laptops.run(OLD, 0)
    return laptops


def test_both_laptops_documents_are_there_once(laptops: Laptops) -> None:
    laptops.write(NEW, POEM)
    laptops.run(NEW, 1)
    assert {uid: one.tree for uid, one in laptops.documents(OLD, NEW).items()} == {STORY: OLD, DRAWING: OLD, POEM: NEW}
    assert set(laptops.documents(NEW)) == {POEM}


def test_what_a_new_laptop_got_back_is_one_document_with_one_version(laptops: Laptops) -> None:
    laptops.give_back()
    stamp = laptops.run(NEW, 1)
    assert {one.tree for one in laptops.documents(OLD, NEW).values()} == {NEW}
    assert laptops.versions(STORY) == [(NEW, stamp)]


def test_a_change_on_the_new_laptop_is_a_version_above_the_old_one(laptops: Laptops) -> None:
    laptops.give_back()
    laptops.write(NEW, STORY, b"other words", 1_790_000_099)
    second = laptops.run(NEW, 1)
    assert laptops.versions(STORY) == [(NEW, second), (OLD, "2026-11-23T101500Z")]


def test_a_document_that_was_deleted_on_the_new_laptop_is_deleted(laptops: Laptops) -> None:
    laptops.give_back()
    laptops.run(NEW, 1)
    laptops.remove(NEW, STORY)
    laptops.run(NEW, 2)
    assert set(laptops.documents(OLD, NEW, gone=True)) == {STORY}


def test_a_document_that_the_other_laptop_still_has_is_not_deleted(laptops: Laptops) -> None:
    laptops.give_back()
    laptops.run(NEW, 1)
    laptops.remove(NEW, STORY)
    laptops.run(NEW, 2)
    laptops.run(OLD, 3)
    assert laptops.documents(OLD, NEW, gone=True) == {}


def test_every_version_can_be_opened_in_its_tree(laptops: Laptops) -> None:
    laptops.give_back()
    laptops.write(NEW, STORY, b"other words", 1_790_000_099)
    laptops.run(NEW, 1)
    with closing(catalog.reading(laptops.catalog)) as database:
        found = timeline.versions(database, [OLD, NEW], STORY)
    contents = []
    for version in found:
        with timeline.opened(laptops.users, version) as entry:
            contents.append(Path(f"/proc/self/fd/{entry.descriptor}/data").read_bytes())
    assert contents == [b"other words", b"words"]
