# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import school
from schoolserver import catalog, snapshot
from schoolserver.search import search

TITLES = {
    1: "สมุดบันทึกของฉัน",
    2: "我的家庭作业",
    3: "मेरो विद्यालय",
    4: "رسالة إلى أمي",
    5: "100% of my_story!",
    6: 'NOT "quoted" title:x',
    7: "École à Ñuñoa",
}


@pytest.fixture
def tree(library: Path) -> Path:
    tree = school.make_tree(library / "users")
    for number, title in TITLES.items():
        school.write_document(tree / "datastore-current", school.uid(number), title=title)
    run(tree, 0)
    return tree


@pytest.fixture
def database(tree: Path) -> Iterator[sqlite3.Connection]:
    with closing(catalog.reading(tree.parent.parent / "catalog.db")) as opened:
        yield opened


def run(tree: Path, day: int) -> str:
    school.end_run(tree)
    stamp = snapshot.take(tree, school.day(day), tree.parent.parent / "catalog.db")
    assert stamp is not None
    return stamp


def found(database: sqlite3.Connection, tree: Path, words: str) -> list[str]:
    return sorted(version.uid for version in search(database, [tree.name], words, 100))


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("บันทึก", 1), ("ฉัน", 1), ("ฉั", 1), ("家庭作业", 2), ("作业", 2), ("我", 2), ("विद्यालय", 3), ("मे", 3),
        ("أمي", 4), ("رس", 4), ("100%", 5), ("0%", 5), ("y_", 5), ("STORY", 5), ("!", 5), ("y story 0%", 5),
        ("ÉCOLE", 7), ("é", 7), ("ñU", 7), ("ñuñoa école", 7), ('NOT "quoted"', 6), ("title:x", 6), ('"', 6),
    ],
)  # fmt: skip
@pytest.mark.parametrize("everywhere", [False, True], ids=["of the learner", "of the school"])
def test_any_script_and_any_sign_finds_its_document(
    database: sqlite3.Connection, tree: Path, words: str, number: int, everywhere: bool
) -> None:
    versions = search(database, None if everywhere else [tree.name], words, 100)
    assert [version.uid for version in versions] == [school.uid(number)]


@pytest.mark.parametrize("words", ["", "  ", "\0", "zzz", "z", "story zzz", "100_", "1%0"])
def test_what_is_nowhere_is_not_found(database: sqlite3.Connection, tree: Path, words: str) -> None:
    assert found(database, tree, words) == []


def test_another_learners_documents_are_not_found(database: sqlite3.Connection) -> None:
    assert search(database, ["AAA00000000"], "story", 100) == []
    assert search(database, [], "story", 100) == []


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.text())
def test_no_question_is_an_error(database: sqlite3.Connection, tree: Path, words: str) -> None:
    found(database, tree, words)
    search(database, None, words, 100)


def test_an_older_title_finds_the_document_until_its_last_copy_is_gone(tree: Path) -> None:
    first = run(tree, 1)
    school.write_document(tree / "datastore-current", school.uid(5), when=1_790_000_009, title="Renamed")
    run(tree, 2)
    file = tree.parent.parent / "catalog.db"
    with closing(catalog.reading(file)) as database:
        assert found(database, tree, "my_story") == found(database, tree, "renamed") == [school.uid(5)]
    for stamp in (school.day(0).strftime("%Y-%m-%dT%H%M%SZ"), first):
        school.rotate_out(tree, file, stamp)
    with closing(catalog.reading(file)) as database:
        assert found(database, tree, "my_story") == []
    with closing(sqlite3.connect(file)) as writer:  # the index agrees with what it indexes
        writer.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
