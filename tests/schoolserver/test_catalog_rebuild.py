# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import resource
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import laptops
import school
from laptops import dsa, message
from schoolserver import (
    acts,
    catalog,
    catalog_rebuild,
    catalog_tree,
    cli,
    erasure,
    paths,
    registrar,
    snapshot,
)
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from standing import make_house

ONE, TWO, THREE = school.uid(1), school.uid(2), school.uid(3)
JIM, ANN = "SHC12345678", "SHC22222222"
S1, S2, S3 = "2026-11-23T101500Z", "2026-11-24T101500Z", "2026-11-25T101500Z"


@pytest.fixture
def users(library: Path) -> Path:
    """Two trees with two runs each, a keepsake, and a snapshot that rotation took."""
    for name in (JIM, ANN):
        tree = school.make_tree(library / "users", name)
        for uid in (ONE, TWO):
            school.write_document(tree / "datastore-current", uid, title=f"of {name}")
        run(tree, 0)
        school.remove_document(tree / "datastore-current", TWO)
        school.write_document(tree / "datastore-current", ONE, when=1_790_000_009, title=f"more of {name}")
        run(tree, 1)
        school.rotate_out(tree, library / "catalog.db", S1)
    return library / "users"


@pytest.fixture
def file(users: Path) -> Path:
    return users.parent / "catalog.db"


def run(tree: Path, day: int) -> None:
    school.end_run(tree)
    assert snapshot.take(tree, school.day(day), tree.parent.parent / "catalog.db")


def rows(file: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(file)) as database:
        tables = (*catalog_tree.TABLES, "waiting")
        return {
            table: database.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() for table in tables[:3]
        } | {"waiting": database.execute("SELECT tree FROM waiting").fetchall()}


def found(file: Path, word: str) -> set[str]:
    with closing(sqlite3.connect(file)) as database:
        query = "SELECT tree FROM versions WHERE rowid IN (SELECT rowid FROM words WHERE words MATCH ?)"
        return {tree for (tree,) in database.execute(query, (word,))}


def garbage(file: Path) -> None:
    file.write_bytes(b"not a database at all" * 100)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def cut_in_a_page(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2 + 1000)


def overwritten(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(4096)
        opened.write(os.urandom(file.stat().st_size - 8192))


def old(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version = 2")


@pytest.mark.parametrize("damage", [garbage, empty, truncated, cut_in_a_page, overwritten, old])
def test_a_damaged_or_old_catalog_is_set_aside_and_listed_anew(
    damage: Callable[[Path], None], users: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows(file)
    damage(file)
    wrong = file.read_bytes()
    assert catalog_rebuild.list_waiting(file, users) == []
    assert "set aside" in capsys.readouterr().err
    assert file.with_name("catalog.db.aside").read_bytes() == wrong
    assert rows(file) == before
    assert found(file, "more") == {JIM, ANN}
    assert catalog.requested(file).exists()  # that start finds nothing left to do
    assert catalog_rebuild.list_waiting(file, users) == []
    assert not catalog.requested(file).exists()


@pytest.mark.parametrize("damage", [garbage, old])
def test_a_run_meets_a_damaged_catalog_and_waits_for_no_rebuild(
    damage: Callable[[Path], None], users: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(file)
    with monkeypatch.context() as patch:
        patch.setattr(catalog_tree, "update", None)  # nothing is read from a tree
        school.write_document(users / JIM / "datastore-current", THREE)
        run(users / JIM, 2)
    assert rows(file)["waiting"] == [(JIM,), (ANN,)]
    assert catalog.requested(file).exists()
    catalog_rebuild.list_waiting(file, users)
    now = rows(file)
    assert (JIM, S3) in [row[:2] for row in now["snapshots"]]
    assert rows(file)["waiting"] == []
    catalog_rebuild.rebuild(file, users)
    assert rows(file) == now


def test_what_happens_while_a_tree_is_listed_is_neither_lost_nor_done_twice(
    users: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[tuple[str, str]] = []
    see, update, meanwhile = catalog_tree._see, catalog_tree.update, [0]

    def look(database: sqlite3.Connection, tree: str, uid: str, stamp: str, *rest: object) -> None:
        looked.append((tree, f"{uid}@{stamp}"))
        see(database, tree, uid, stamp, *rest)  # type: ignore[arg-type]

    def update_with_a_run_in_it(database: sqlite3.Connection, tree: Path) -> None:
        update(database, tree)
        if not meanwhile[0]:  # the rows are made, and not in their place yet
            meanwhile[0] = 1
            for name in (JIM, ANN):
                school.write_document(users / name / "datastore-current", THREE)
                run(users / name, 2)
            school.rotate_out(users / JIM, file, S2)

    monkeypatch.setattr(catalog_tree, "_see", look)
    monkeypatch.setattr(catalog_tree, "update", update_with_a_run_in_it)
    garbage(file)
    catalog_rebuild.list_waiting(file, users)
    assert sorted(looked) == sorted(set(looked))
    assert len([one for one in looked if THREE in one[1]]) == 2
    assert [row[:2] for row in rows(file)["snapshots"]] == [(JIM, S3), (ANN, S2), (ANN, S3)]
    now = rows(file)
    catalog_rebuild.rebuild(file, users)
    assert rows(file) == now


def test_a_tree_that_is_listed_is_updated_while_another_waits(users: Path, file: Path) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("INSERT INTO waiting VALUES (?, 0)", (ANN,))
    for name in (JIM, ANN):
        school.write_document(users / name / "datastore-current", THREE, title="Third")
        run(users / name, 2)
    assert found(file, "Third") == {JIM}
    with closing(catalog.reading(file)) as database:
        assert catalog.waiting(database, [JIM]) == []
        assert catalog.waiting(database, [JIM, ANN]) == [ANN]
    catalog_rebuild.list_waiting(file, users)
    assert found(file, "Third") == {JIM, ANN}


def test_a_tree_that_is_erased_while_it_is_listed_leaves_no_title(
    users: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = catalog_tree.update

    def update_and_erase(database: sqlite3.Connection, tree: Path) -> None:
        update(database, tree)
        if tree.name == JIM and tree.exists():
            erasure.erase(users, JIM, file)

    monkeypatch.setattr(catalog_tree, "update", update_and_erase)
    catalog_rebuild.rebuild(file, users)
    assert {row[0] for table in ("versions", "snapshots", "keepsakes") for row in rows(file)[table]} == {ANN}
    assert rows(file)["waiting"] == []


def test_trees_that_are_no_more_leave_at_a_rebuild(users: Path, file: Path) -> None:
    (users / JIM).rename(users.parent / JIM)
    catalog_rebuild.rebuild(file, users)
    assert found(file, "more") == {ANN}


def test_a_rebuild_that_was_interrupted_goes_on_where_it_was(
    users: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, update = rows(file), catalog_tree.update

    def end(database: sqlite3.Connection, tree: Path) -> None:
        if tree.name == JIM:
            raise KeyboardInterrupt
        update(database, tree)

    with monkeypatch.context() as patch:
        patch.setattr(catalog_tree, "update", end)
        with pytest.raises(KeyboardInterrupt):
            catalog_rebuild.rebuild(file, users)
        assert rows(file)["versions"] == before["versions"]  # what was there is there to read
        said: list[tuple[int, int, str]] = []
        with pytest.raises(KeyboardInterrupt):
            catalog_rebuild.list_waiting(file, users, lambda *told: said.append(told))
    assert said == [(1, 2, ANN)]  # the one that ended it before came last
    assert rows(file)["waiting"] == [(JIM,)]
    catalog_rebuild.list_waiting(file, users)
    assert rows(file) == before


def test_a_tree_that_cannot_be_read_stops_no_other_and_is_asked_for_again(users: Path, file: Path) -> None:
    bad = users / "AAA00000000"
    school.make_tree(users, bad.name)
    school.write_document(bad / "datastore-current", ONE, title="of a bad disk")
    run(bad, 0)
    (bad / "keepsakes").rmdir()
    (bad / "keepsakes").write_text("not a directory")
    garbage(file)
    (said,) = catalog_rebuild.list_waiting(file, users)
    assert said.startswith("AAA00000000: not listed: ")
    assert found(file, "more") == {JIM, ANN}
    (bad / "keepsakes").unlink()
    (bad / "keepsakes").mkdir()
    catalog.requested(file).unlink(missing_ok=True)
    run(bad, 1)
    assert catalog.requested(file).exists()
    assert catalog_rebuild.list_waiting(file, users) == []
    assert found(file, "bad") == {"AAA00000000"}


def test_a_reader_sees_a_tree_as_it_was_until_it_is_listed_anew(
    users: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, update, seen = rows(file)["versions"], catalog_tree.update, []

    def look(database: sqlite3.Connection, tree: Path) -> None:
        reader = threading.Thread(target=lambda: seen.append(rows(file)["versions"]))
        reader.start()
        reader.join()
        update(database, tree)

    monkeypatch.setattr(catalog_tree, "update", look)
    catalog_rebuild.rebuild(file, users)
    assert seen == [before] * 4


def test_two_rebuilds_at_once_are_refused(users: Path, file: Path) -> None:
    def second(*_: object) -> None:
        with pytest.raises(Refusal, match="already"):
            catalog_rebuild.rebuild(file, users)

    catalog_rebuild.rebuild(file, users, second)


def test_the_command_says_how_far_it_is(
    users: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "USERS", users)
    monkeypatch.setattr(paths, "CATALOG", file)
    monkeypatch.setattr(sys, "argv", ["xs", "catalog", "rebuild"])
    garbage(file)
    assert cli.main() == 0
    assert capsys.readouterr().out.splitlines() == [
        f"1 of 2 trees: {JIM}",
        f"2 of 2 trees: {ANN}",
        f"{file} is rebuilt",
    ]


def test_a_catalog_that_cannot_be_written_is_one_line_for_the_technician(
    users: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "USERS", users)
    monkeypatch.setattr(paths, "CATALOG", file)
    monkeypatch.setattr(sys, "argv", ["xs", "catalog", "rebuild"])
    file.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # as on a full disk
    try:
        assert cli.main() == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = capsys.readouterr().err
    assert (said.startswith("xs: "), said.count("\n")) == (True, 1)


def test_approvals_and_hand_overs_change_nothing_that_is_listed_and_a_rebuild_gives_the_same(library: Path) -> None:
    # The rows are of trees; whose a tree is, account.json alone says, and the registry at each question.
    here = make_house(library)
    registrar.register(message(laptops.JIM, dsa(0)), here)
    registrar.register(message(laptops.JIM, dsa(1)), here)  # reflashed: a further tree
    registrar.register(message(laptops.ANN, dsa(2), nick="Ann"), here)
    file, trees = here.state / "catalog.db", [laptops.JIM, f"{laptops.JIM}.2", laptops.ANN]

    def run_all(day: int) -> None:
        for number, name in enumerate(trees):
            school.write_document(here.users / name / "datastore-current", school.uid(3 * day + number), title=name)
            school.end_run(here.users / name)
            assert snapshot.take(here.users / name, school.day(day), file)

    who = Who("maria", "172.18.0.20")
    run_all(0)
    acts.approve(here, trees[1], None, who)
    run_all(1)
    acts.hand_on(here, laptops.ANN, who)
    (handed,) = {path.name for path in here.users.iterdir()} - set(trees)
    trees.append(handed)
    run_all(2)
    acts.separate(here, trees[1], who)
    updated = rows(file)
    assert {row[0] for row in updated["versions"]} == set(trees)
    assert catalog_rebuild.rebuild(file, here.users) == []
    assert rows(file) == updated
    garbage(file)
    catalog_rebuild.list_waiting(file, here.users)
    assert rows(file) == updated
