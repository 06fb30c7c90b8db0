# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import school
from schoolserver import (
    catalog,
    catalog_rebuild,
    catalog_tree,
    cli,
    cli_restore,
    datastore,
    engines,
    entries,
    paths,
    snapshot,
    timeline,
)
from schoolserver.engines import subvolumes

ONE, TWO = school.uid(1), school.uid(2)
S1, S2, S3 = "2026-11-23T101500Z", "2026-11-24T101500Z", "2026-11-25T101500Z"


@pytest.fixture
def tree(library: Path) -> Path:
    return school.make_tree(library / "users")


def file_of(tree: Path) -> Path:
    return tree.parent.parent / "catalog.db"


def run(tree: Path, day: int) -> str:
    school.end_run(tree)
    stamp = snapshot.take(tree, school.day(day), file_of(tree))
    assert stamp is not None
    return stamp


def rows(file: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(file)) as database:
        return {
            table: database.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()
            for table in ("versions", "keepsakes")
        } | {"snapshots": database.execute("SELECT tree, stamp FROM snapshots ORDER BY 1, 2").fetchall()}


def versions(tree: Path, uid: str) -> list[tuple[str, str, str, bool]]:
    with closing(catalog.reading(file_of(tree))) as database:
        found = timeline.versions(database, [tree.name], uid)
    return [(version.first, version.last, version.said.title, version.gone) for version in found]


def test_a_version_spans_the_snapshots_that_hold_it(tree: Path) -> None:
    school.write_document(tree / "datastore-current", ONE, title="First")
    run(tree, 0)
    run(tree, 1)
    school.write_document(tree / "datastore-current", ONE, when=1_790_000_009, title="Second")
    run(tree, 2)
    assert versions(tree, ONE) == [(S3, S3, "Second", False), (S1, S2, "First", False)]


def test_a_deleted_document_is_gone_and_still_there_to_give_back(tree: Path) -> None:
    school.write_document(tree / "datastore-current", ONE, b"dear", title="First")
    school.write_document(tree / "datastore-current", TWO)
    run(tree, 0)
    school.remove_document(tree / "datastore-current", ONE)
    run(tree, 1)
    assert versions(tree, ONE) == [(S1, S1, "First", True)]
    school.rotate_out(tree, file_of(tree), S1)
    assert versions(tree, ONE) == [(S1, S1, "First", True)]
    with closing(catalog.reading(file_of(tree))) as database:
        version = timeline.versions(database, [tree.name], ONE)[0]
        with timeline.opened(tree.parent, version) as entry, open(entries.open_file(entry, "data"), "rb") as data:
            assert data.read() == b"dear"


def test_only_versions_that_nothing_holds_any_more_leave_with_a_snapshot(tree: Path) -> None:
    for day in range(3):
        school.write_document(tree / "datastore-current", ONE, when=1_790_000_000 + day, title=f"Day {day}")
        run(tree, day)
    school.rotate_out(tree, file_of(tree), S2)
    assert versions(tree, ONE) == [(S3, S3, "Day 2", False), (S1, S1, "Day 0", False)]


def test_where_a_version_only_begins_or_ends_elsewhere_its_words_are_not_indexed_anew(tree: Path) -> None:
    """They were most of a night's rotation: the oldest snapshot holds a version of nearly every document."""
    school.write_document(tree / "datastore-current", ONE)
    for day in range(3):
        if day == 2:
            school.write_document(tree / "datastore-current", ONE, when=1_790_000_009, title="Second")
        run(tree, day)

    def numbered() -> list[tuple[int, str, str]]:
        with closing(sqlite3.connect(file_of(tree))) as database:
            return database.execute("SELECT rowid, first, last FROM versions ORDER BY first").fetchall()

    first, second = numbered()
    assert (first[1:], second[1:]) == ((S1, S2), (S3, S3))
    school.rotate_out(tree, file_of(tree), S2)
    assert numbered() == [(first[0], S1, S1), second]
    run(tree, 3)
    school.rotate_out(tree, file_of(tree), S1, S3)
    assert numbered() == [(second[0], "2026-11-26T101500Z", "2026-11-26T101500Z")]


def test_a_snapshot_with_too_many_documents_is_not_listed_and_stops_no_later_one(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datastore, "MOST_DOCUMENTS", 12)
    for number in range(13):
        school.write_document(tree / "datastore-current", school.uid(number))
    run(tree, 0)
    school.remove_document(tree / "datastore-current", TWO)
    run(tree, 1)
    assert versions(tree, ONE) == [(S2, S2, "Story 01", False)]
    assert versions(tree, TWO) == []


def test_a_missed_update_is_made_up_for(tree: Path) -> None:
    school.write_document(tree / "datastore-current", ONE)
    run(tree, 0)
    school.write_document(tree / "datastore-current", TWO)
    school.end_run(tree)
    snapshot.take(tree, school.day(1), tree / "no such directory" / "catalog.db")
    run(tree, 2)
    assert versions(tree, TWO) == [(S2, S3, "Story 02", False)]


def test_readers_without_write_access_can_read(tree: Path) -> None:
    run(tree, 0)
    file_of(tree).chmod(0o444)
    with closing(catalog.reading(file_of(tree))) as database:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            database.execute("DELETE FROM snapshots")
        assert database.execute("PRAGMA journal_mode").fetchone()[0] == "delete"


@given(st.lists(st.sampled_from([None, "a", "b"]), max_size=12))
def test_runs_cover_exactly_the_copies_there_are(copies: list[str | None]) -> None:
    points = [(f"{place:02}", copy) for place, copy in enumerate(copies)]
    found = catalog_tree.runs(points)
    for stamp, copy in points:
        holding = [fingerprint for fingerprint, first, last in found if first <= stamp <= last]
        assert holding == ([copy] if copy else [])
    for (_, _, last), (_, first, _) in itertools.pairwise(found):
        assert last < first


UIDS = st.sets(st.integers(0, 2), max_size=2)
# A day: documents edited, put back as they once were, removed; after its run, places of snapshots that go.
DAYS = st.lists(st.tuples(UIDS, UIDS, UIDS, st.sets(st.integers(0, 4), max_size=2)), min_size=3, max_size=8)


@settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # on a real disk, shrinking takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(days=DAYS)
def test_a_rebuild_gives_the_same_catalog_and_every_version_has_a_living_copy(
    library: Path, days: list[tuple[set[int], set[int], set[int], set[int]]]
) -> None:
    base = library / os.urandom(8).hex()
    tree, file = school.make_tree(base / "users"), base / "catalog.db"
    incoming = tree / "datastore-current"
    for number, (edited, put_back, removed, dropped) in enumerate(days):
        for uid in map(school.uid, edited):
            school.write_document(incoming, uid, b"%d" % number, 1_790_000_000 + number, title=str(number))
        for uid in map(school.uid, put_back):
            school.write_document(incoming, uid, b"old", title="old")
        for uid in map(school.uid, removed):
            if (incoming / uid[:2] / uid).exists():
                school.remove_document(incoming, uid)
        school.end_run(tree)
        assert snapshot.take(tree, school.day(number), file)
        going = [stamp for place, stamp in enumerate(datastore.snapshots(tree)[:-1]) if place in dropped]
        school.rotate_out(tree, file, *going)
        updated = rows(file)
        catalog_rebuild.rebuild(file, tree.parent)
        assert rows(file) == updated
        with pytest.MonkeyPatch.context() as patch:  # and as looking at everything gives
            patch.setattr(subvolumes.Subvolumes, "changed", lambda *_: None)
            catalog_rebuild.rebuild(file, tree.parent)
        assert rows(file) == updated
    with closing(catalog.reading(file)) as database:
        for number in range(3):
            for version in timeline.versions(database, [tree.name], school.uid(number)):
                with timeline.opened(tree.parent, version) as entry:
                    assert entries.describe(entry) == version.said


def test_a_snapshot_that_turns_up_among_the_others_is_listed(tree: Path) -> None:
    school.write_document(tree / "datastore-current", ONE)
    for day in range(3):
        run(tree, day)
    with closing(sqlite3.connect(file_of(tree))) as database, database:
        database.execute("DELETE FROM snapshots WHERE stamp = ?", (S2,))
    run(tree, 3)
    assert (tree.name, S2) in rows(file_of(tree))["snapshots"]
    assert [version[:2] for version in versions(tree, ONE)] == [(S1, "2026-11-26T101500Z")]


def test_a_tree_that_starts_again_is_listed_as_it_is(tree: Path) -> None:
    school.write_document(tree / "datastore-current", ONE)
    run(tree, 5)
    school.end_run(tree)
    again = school.make_tree(tree.parent.parent / "other", tree.name)
    school.write_document(again / "datastore-current", TWO)
    school.end_run(again)
    snapshot.take(again, school.day(0), file_of(tree))
    assert versions(tree, ONE) == []
    assert versions(tree, TWO) == [(S1, S1, "Story 02", False)]


def test_only_what_changed_between_two_snapshots_is_looked_at(
    any_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = school.make_tree(any_library / "users")
    incoming = tree / "datastore-current"
    for number in range(20):
        school.write_document(incoming, school.uid(number))
    run(tree, 0)
    school.write_document(incoming, ONE, when=1_790_000_009, title="Second")
    # A hostile laptop moves what it sent earlier to another document's place, with the old times.
    os.rename(incoming / TWO[:2] / TWO, incoming / "away")
    os.rename(incoming / school.uid(3)[:2] / school.uid(3), incoming / TWO[:2] / TWO)
    looked: list[str] = []
    see = catalog_tree._see

    def look(database: sqlite3.Connection, name: str, uid: str, stamp: str, entry: entries.Entry) -> None:
        looked.append(uid)
        see(database, name, uid, stamp, entry)

    monkeypatch.setattr(catalog_tree, "_see", look)
    run(tree, 1)
    assert sorted(looked) == sorted([ONE, TWO])
    updated = rows(file_of(tree))
    catalog_rebuild.rebuild(file_of(tree), tree.parent)
    assert rows(file_of(tree)) == updated
    monkeypatch.setattr(type(engines.of(tree)), "changed", lambda *_: None)
    catalog_rebuild.rebuild(file_of(tree), tree.parent)
    assert rows(file_of(tree)) == updated


def test_damaged_versions_are_listed_with_what_is_wrong(tree: Path) -> None:
    school.write_document(tree / "datastore-current", ONE)
    school.write_document(tree / "datastore-current", TWO)
    (tree / "datastore-current" / TWO[:2] / TWO / "metadata" / "title").write_bytes(b"\xff\xfe")
    run(tree, 0)
    with closing(catalog.reading(file_of(tree))) as database:
        assert [tuple(row) for row in catalog.damaged(database)] == [(tree.name, TWO, S1, S1, "title is not UTF-8")]


def test_whatever_a_laptop_wrote_is_listed_named_and_listed_alike_by_a_rebuild(tree: Path) -> None:
    """Each of these once; the document beside them is listed as ever."""
    datastore_of = tree / "datastore-current"
    for number in range(1, 10):
        school.write_document(datastore_of, school.uid(number), title=f"Story {number}")

    def entry(number: int) -> Path:
        return datastore_of / school.uid(number)[:2] / school.uid(number)

    (entry(1) / "metadata" / "title").write_bytes(b"\xff\xfe")
    (entry(2) / "metadata" / "timestamp").write_text("86400")  # 1970
    (entry(3) / "metadata" / "timestamp").write_text("4294967296")  # 2106
    (entry(4) / "metadata" / "title").write_text("x" * 3_000_000)
    (entry(5) / "metadata" / "filesize").write_text("5")
    (entry(5) / "data").unlink()
    (entry(6) / "metadata" / "title").unlink()
    os.mkfifo(entry(6) / "metadata" / "title")
    (entry(7) / "metadata" / "tags").symlink_to("tags")  # itself
    (entry(8) / "metadata" / "title").unlink()
    (entry(8) / "metadata" / "title").symlink_to("../metadata")
    run(tree, 0)
    file = file_of(tree)
    with closing(catalog.reading(file)) as database:
        said = {row["uid"]: row["damaged"] for row in catalog.damaged(database)}
        listed = [row["uid"] for row in database.execute("SELECT uid FROM versions ORDER BY uid")]
    assert listed == sorted(school.uid(number) for number in range(1, 10))
    assert said[school.uid(1)] == "title is not UTF-8"
    assert said[school.uid(2)] == "its time cannot be true: 86400"
    assert said[school.uid(3)] == "its time cannot be true: 4294967296"
    assert said[school.uid(4)] == "title has 3000000 bytes"
    assert said[school.uid(5)] == "its data is missing: 5 bytes"
    for number, key in ((6, "title"), (7, "tags"), (8, "title")):
        assert said[school.uid(number)].startswith(f"{key} cannot be read: "), said[school.uid(number)]
    assert school.uid(9) not in said
    updated = rows(file)
    catalog_rebuild.rebuild(file, tree.parent)
    assert rows(file) == updated


def test_xs_find_names_the_documents_that_have_all_the_words(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    school.write_document(tree / "datastore-current", ONE, title="My house", tags="home work")
    school.write_document(tree / "datastore-current", TWO, title="My dog")
    first = run(tree, 0)
    school.remove_document(tree / "datastore-current", ONE)
    run(tree, 1)
    monkeypatch.setattr(paths, "CATALOG", file_of(tree))
    monkeypatch.setattr(cli_restore, "trees_of", lambda _: [tree.name])

    def find(*words: str) -> tuple[int, str, str]:
        whose = [] if "--everywhere" in words else [tree.name]
        monkeypatch.setattr(sys, "argv", ["xs", "find", *whose, *words])
        code = cli.main()
        said = capsys.readouterr()
        return code, said.out, said.err

    assert find("work", "house") == (0, f"{ONE}  {tree.name}  {first}  My house  (deleted)\n", "")
    assert find("my")[1].count("\n") == 2
    assert find("--everywhere", "house") == find("house")
    assert find() == (1, "", "xs: give words to look for behind the laptop, or --everywhere and words\n")
    assert find("cat") == (1, "", f"xs: no document of {tree.name} has 'cat' in its title, tags or activity\n")
