# SPDX-License-Identifier: GPL-3.0-or-later
"""Deleting a tree for ever: counted, whole, and whatever a laptop put into it; what a person says is test_acts.py."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import school
from laptops import ANN, EVE, JIM, NOW, after, dsa, message, request
from schoolserver import accounts, acts, btrfs, copying, datastore, durable, erasure, opening, registrar, snapshot
from schoolserver.acts import Act
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from standing import make_house

MARIA = Who("maria", "console")


@pytest.fixture
def users(library: Path) -> Path:
    """Jim's tree with three documents in two snapshots, one of them deleted in between, and Ann's with one."""
    users = library / "users"
    for name, documents in ((JIM, 3), (ANN, 1)):
        tree = school.make_tree(users, name)
        for day in (0, 1):
            for number in range(documents):
                school.write_document(tree / "datastore-current", school.uid(number))
            if day and name == JIM:
                school.remove_document(tree / "datastore-current", school.uid(2))
            school.end_run(tree)
            assert snapshot.take(tree, school.day(day), library / "catalog.db")
    return users


def listed(catalog_file: Path) -> set[str]:
    """Return the trees that the catalog knows anything of."""
    with closing(sqlite3.connect(catalog_file)) as database:
        tables = ("versions", "snapshots", "keepsakes")
        return {tree for table in tables for (tree,) in database.execute(f"SELECT tree FROM {table}")}


def test_each_document_counts_once_wherever_it_is(users: Path) -> None:
    assert erasure.count(users, [JIM]) == 3
    assert erasure.count(users, [ANN]) == 1
    assert erasure.count(users, [JIM, ANN]) == 3, "the same document in two trees of one child"


def test_a_tree_without_a_snapshot_holds_none(users: Path) -> None:
    school.make_tree(users, EVE)
    assert erasure.count(users, [EVE]) == 0
    assert erasure.count(users, []) == 0


def test_more_documents_than_anybody_counts_keep_no_tree_from_being_deleted(
    users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datastore, "MOST_DOCUMENTS", 2)
    with pytest.raises(opening.TooMany):
        datastore.entries(users / JIM / "datastore" / datastore.snapshots(users / JIM)[0])
    assert erasure.count(users, [JIM]) >= 2


def test_a_tree_goes_with_its_snapshots_and_what_the_catalog_says_and_no_other_does(users: Path) -> None:
    file, ann = users.parent / "catalog.db", school.contents(users / ANN)
    assert listed(file) == {JIM, ANN}
    erasure.erase(users, JIM, file)
    assert [path.name for path in users.iterdir()] == [ANN]
    assert listed(file) == {ANN}
    assert school.contents(users / ANN) == ann


def test_a_crash_in_between_leaves_no_title_for_the_next_tree_of_that_name(
    users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(durable, "sync_directory", crash)
    with pytest.raises(KeyboardInterrupt):
        erasure.erase(users, JIM, users.parent / "catalog.db")
    assert listed(users.parent / "catalog.db") == {ANN}


def test_a_tree_goes_where_there_is_no_btrfs(tmp_path: Path) -> None:
    (tmp_path / JIM / "datastore-current" / "index").mkdir(parents=True)
    (tmp_path / JIM / "datastore" / "2026-11-23T100000Z").mkdir(parents=True)
    (tmp_path / JIM / "documents").symlink_to("/etc")
    erasure.erase(tmp_path, JIM, tmp_path / "catalog.db")
    assert list(tmp_path.iterdir()) == []
    assert Path("/etc/passwd").exists()


def test_a_catalog_that_cannot_be_written_keeps_nothing(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = users.parent / "catalog.db"
    file.write_bytes(b"no database" * 1000)
    erasure.erase(users, JIM, file)
    assert not (users / JIM).exists()
    assert f"{JIM}: the catalog is late: " in capsys.readouterr().err


def test_a_tree_that_is_not_there_is_an_error(users: Path) -> None:
    with pytest.raises(FileNotFoundError):
        erasure.erase(users, EVE, users.parent / "catalog.db")


@pytest.mark.parametrize("place", ["datastore-current/a", "datastore-current/a/b/c", "documents/a/b", "power-logs/a"])
def test_subvolumes_that_a_laptop_made_keep_nothing(users: Path, place: str) -> None:
    own = users / JIM / place
    own.parent.mkdir(parents=True, exist_ok=True)
    btrfs.create_subvolume(own)
    (own / "file").write_text("words")
    erasure.erase(users, JIM, users.parent / "catalog.db")
    assert [path.name for path in users.iterdir()] == [ANN]


def test_read_only_ones_in_each_other_keep_nothing_and_no_other_becomes_writable(users: Path) -> None:
    ann = users / ANN / "datastore" / datastore.snapshots(users / ANN)[0]
    outer = users / JIM / "documents" / "a" / "b" / "-outer"
    inner = outer / "c" / "inner"
    for own in (outer, inner):
        own.parent.mkdir(parents=True)
        btrfs.create_subvolume(own)
        (own / "file").write_text("words")
    (outer / "link").symlink_to(ann)
    for own in (inner, outer):
        btrfs.set_read_only(own, True)
    erasure.erase(users, JIM, users.parent / "catalog.db")
    assert [path.name for path in users.iterdir()] == [ANN]
    assert btrfs.is_read_only(ann)


def test_a_read_only_one_deeper_than_any_path_can_name_goes_as_well(users: Path) -> None:
    back = os.open(".", os.O_RDONLY)
    os.chdir(users / JIM / "documents")
    for _ in range(40):
        os.mkdir("a" * 200)
        os.chdir("a" * 200)
    btrfs.create_subvolume(Path("own"))
    Path("own/file").write_text("words")
    btrfs.set_read_only(Path("own"), True)
    os.fchdir(back)
    os.close(back)
    erasure.erase(users, JIM, users.parent / "catalog.db")
    assert [path.name for path in users.iterdir()] == [ANN]


# What was interrupted.


def test_what_is_being_deleted_is_nobodys_tree_any_more(users: Path) -> None:
    (users / JIM).rename(users / f".erased-{JIM}")
    known = accounts.read_all(users)
    assert JIM not in {*known.accounts, *known.damaged}
    assert [tree.name for tree in datastore.trees(users)] == [ANN]


def test_a_tree_can_be_deleted_although_an_earlier_one_of_its_name_was_left_half(users: Path) -> None:
    (users / JIM).rename(users / f".erased-{JIM}")
    school.make_tree(users, JIM)
    erasure.erase(users, JIM, users.parent / "catalog.db")
    assert [path.name for path in users.iterdir()] == [ANN]


def test_more_directories_in_each_other_than_python_can_walk_go_as_well(users: Path) -> None:
    back = os.open(".", os.O_RDONLY)
    os.chdir(users / JIM / "datastore-current")
    for _ in range(1500):
        os.mkdir("a")
        os.chdir("a")
    os.fchdir(back)
    os.close(back)
    erasure.erase(users, JIM, users.parent / "catalog.db")
    assert [path.name for path in users.iterdir()] == [ANN]


def test_one_that_resists_is_named_and_stops_no_other(
    users: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (JIM, ANN):
        (users / name).rename(users / f".erased-{name}")
    remove = copying.remove

    def resist(path: Path) -> None:
        if path.name == f".erased-{JIM}":
            raise OSError("a bad sector")
        remove(path)

    monkeypatch.setattr(copying, "remove", resist)
    erasure.sweep(users)
    assert f"{users}/.erased-{JIM} is not gone yet: a bad sector" in capsys.readouterr().err
    assert [path.name for path in users.iterdir()] == [f".erased-{JIM}"]


@pytest.mark.parametrize("crash", [1, 2, 3])
def test_said_again_after_a_crash_all_trees_of_the_laptop_go_and_no_other(
    library: Path, monkeypatch: pytest.MonkeyPatch, crash: int
) -> None:
    here = make_house(library)
    for serial, key in ((JIM, 0), (JIM, 1), (ANN, 2), (JIM, 3)):
        registrar.register(message(serial, dsa(key)), here)
    acts.approve(here, f"{JIM}.2", JIM, MARIA)
    acts.remove(here, f"{JIM}.3", MARIA)
    before, calls = erasure.erase, []

    def erase(*given: Any) -> None:
        calls.append(given)
        if len(calls) == crash:
            raise KeyboardInterrupt
        before(*given)

    monkeypatch.setattr(erasure, "erase", erase)
    file = library / "catalog.db"
    if crash <= 2:
        with pytest.raises(KeyboardInterrupt):
            acts.remove(here, JIM, MARIA, documents=True, catalog_file=file)
    acts.remove(here, JIM, MARIA, documents=True, catalog_file=file)
    assert sorted(path.name for path in here.users.iterdir()) == [f"{JIM}.3", ANN]


def test_who_was_only_forgotten_first_can_be_deleted_later_with_all_trees(library: Path) -> None:
    here = make_house(library)
    for key in (0, 1):
        registrar.register(message(JIM, dsa(key)), here)
    acts.approve(here, JIM, None, MARIA)
    acts.remove(here, JIM, MARIA)
    acts.remove(here, JIM, MARIA, documents=True, catalog_file=library / "catalog.db")
    assert list(here.users.iterdir()) == []


# Whose documents others stand on.


@pytest.mark.parametrize("going", [JIM, ANN])
def test_a_laptop_that_was_joined_through_another_one_keeps_both_from_going(going: str) -> None:
    act = Act(MARIA, NOW)
    known = after(request(JIM, 0), request(ANN, 1), request(EVE, 2))
    for name, learner in ((EVE, JIM), (JIM, ANN)):
        for _, account in acts.decide_approval(known, name, learner, act).steps:
            known = known.plus(account)
    with pytest.raises(Refusal, match="was joined to it and would lose its old documents: separate it first"):
        acts._check_nobody_stands_on(known, [going])
    acts._check_nobody_stands_on(known, [EVE])
    acts._check_nobody_stands_on(known, [JIM, ANN, EVE])
