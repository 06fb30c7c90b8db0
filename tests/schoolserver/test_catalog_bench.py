# SPDX-License-Identifier: GPL-3.0-or-later
"""What the catalog costs: a day's update against a full rebuild, and the questions of a large school (make bench)."""

from __future__ import annotations

import random
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import school
from schoolserver import catalog, catalog_rebuild, catalog_schema, engines, search, snapshot, timeline
from schoolserver.stamps import FORM
from synthetic import Journal

pytestmark = pytest.mark.bench
DAYS = 60  # snapshots that rotation leaves a tree in its second year: 30 of days, 13 of weeks, and months
TREES, DOCUMENTS, SNAPSHOTS = 300, 1000, 100
QUESTIONS = 300


def test_a_days_update_against_a_rebuild(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, file = school.make_tree(library / "users"), library / "catalog.db"
    journal = Journal(tree / "datastore-current")
    journal.make(1000)
    journal.make_caches()
    taken: list[float] = []
    tell = snapshot._tell

    def timed(catalog_file: Path, tree: Path) -> None:
        start = time.perf_counter()  # datastore-latest has just moved
        tell(catalog_file, tree)
        taken.append(time.perf_counter() - start)

    monkeypatch.setattr(snapshot, "_tell", timed)
    for day in range(DAYS):
        if day:
            journal.pass_day()
        school.end_run(tree)
        assert snapshot.take(tree, school.day(day), file)
    update = statistics.median(taken[1:])

    def rebuilt() -> float:
        start = time.perf_counter()
        assert catalog_rebuild.rebuild(file, tree.parent) == []
        return time.perf_counter() - start

    by_differences = rebuilt()
    monkeypatch.setattr(type(engines.of(tree)), "changed", lambda *_: None)
    by_all = rebuilt()
    print(f"\ncatalogued {update * 1e3:.1f} ms after datastore-latest moved (at most 250); the first run ", end="")
    print(f"{taken[0] * 1e3:.0f} ms")
    print(f"a rebuild of {DAYS} snapshots: {by_differences:.1f} s by differences, ", end="")
    print(f"{by_differences / update:.0f} times a day's update (at least 50); ", end="")
    print(f"{by_all:.1f} s by looking at everything, {by_all / update:.0f} times")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A catalog of a large school after SNAPSHOTS days: eight documents of each laptop change a day."""
    file, choose = tmp_path / "catalog.db", random.Random(1)
    catalog_schema.create(file, [])
    start = datetime(2026, 1, 1, 10, 15, tzinfo=UTC)
    stamps = [(start + timedelta(days=day)).strftime(FORM) for day in range(SNAPSHOTS)]
    words = ["".join(choose.choices("abcdefghiklmnoprstuvz", k=choose.randint(3, 9))) for _ in range(4000)]
    often = [1 / rank for rank in range(1, len(words) + 1)]  # as words are in any language (Zipf)

    def versions(tree: str) -> Iterator[tuple[object, ...]]:
        changed: dict[int, list[int]] = {}
        for day in range(1, SNAPSHOTS):
            for number in choose.sample(range(DOCUMENTS), 8):
                changed.setdefault(number, []).append(day)
        for number in range(DOCUMENTS):
            begins = [0, *changed.get(number, [])]
            for begin, end in zip(begins, [*begins[1:], SNAPSHOTS], strict=True):
                title = " ".join(choose.choices(words, often, k=4))
                yield (
                    tree, f"{number:08x}-0000-4000-8000-000000000000", stamps[begin], stamps[end - 1],
                    f"{choose.getrandbits(128):032x}", title, "org.laptop.AbiWordActivity", "text/plain",
                    choose.randrange(10**6), 1_790_000_000 + begin, 1, "", "",
                )  # fmt: skip

    with closing(sqlite3.connect(file)) as database, database:
        for number in range(TREES):
            tree = f"SHC{number:08}"
            database.executemany("INSERT INTO snapshots VALUES (?, ?, 1)", ((tree, stamp) for stamp in stamps))
            database.executemany(f"INSERT INTO versions VALUES ({', '.join('?' * 13)})", versions(tree))
    return file


def test_questions_of_a_large_school(large: Path) -> None:
    choose = random.Random(2)
    with closing(catalog.reading(large)) as database:
        rows = database.execute("SELECT count(*) FROM versions").fetchone()[0]
        print(f"\n{TREES} learners, {DOCUMENTS} documents, {SNAPSHOTS} snapshots: {rows} versions, ", end="")
        print(f"{large.stat().st_size / 1e6:.0f} MB; 95th percentiles (at most 20 ms):")
        titles = [title for (title,) in database.execute("SELECT title FROM versions ORDER BY random() LIMIT 1000")]
        asked: dict[str, Callable[[list[str]], object]] = {
            "list, first page": lambda trees: timeline.documents(database, trees, 0, 100, False),
            "list, a page in the middle": lambda trees: timeline.documents(database, trees, 500, 100, False),
            "how many": lambda trees: timeline.count(database, trees, False),
            "versions of one": lambda trees: timeline.versions(
                database, trees, f"{choose.randrange(DOCUMENTS):08x}-0000-4000-8000-000000000000"
            ),
            "search, a word": lambda trees: search.search(database, trees, choose.choice(titles).split()[0], 100),
            "search, two words": lambda trees: search.search(
                database, trees, " ".join(choose.choice(titles).split()[:2]), 100
            ),
            "search of the whole school, a word": lambda _: search.search(
                database, None, choose.choice(titles).split()[0], 100
            ),
            "what each snapshot holds": lambda trees: timeline.held(database, trees[0]),
            "search, two letters": lambda trees: search.search(database, trees, "bo", 100),
        }
        for name, ask in asked.items():
            times = []
            for _ in range(QUESTIONS):
                trees = [f"SHC{choose.randrange(TREES):08}"]
                start = time.perf_counter()
                ask(trees)
                times.append(time.perf_counter() - start)
            print(f"  {name}: {statistics.quantiles(times, n=20)[18] * 1e3:.1f} ms")
