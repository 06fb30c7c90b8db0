# SPDX-License-Identifier: GPL-3.0-or-later
"""What a day's catalog update costs against a full rebuild, on btrfs (make bench)."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

import school
from schoolserver import catalog, catalog_rebuild, snapshot
from synthetic import Journal

pytestmark = pytest.mark.bench
DAYS = 10


def test_a_days_update_against_a_rebuild(library: Path) -> None:
    tree, file = school.make_tree(library / "users"), library / "catalog.db"
    journal = Journal(tree / "datastore-current")
    journal.make(1000)
    journal.make_caches()
    taken: list[float] = []
    for day in range(DAYS):
        if day:
            journal.pass_day()
        school.end_run(tree)
        assert snapshot.take(tree, school.day(day), library / "none" / "catalog.db")
        start = time.perf_counter()
        catalog.update(file, tree)
        taken.append(time.perf_counter() - start)
    start = time.perf_counter()
    catalog_rebuild.rebuild(file, tree.parent)
    rebuilt = time.perf_counter() - start
    update = statistics.median(taken[1:])
    print(f"\na day's update {update * 1e3:.1f} ms, a rebuild of {DAYS} snapshots {rebuilt * 1e3:.0f} ms: ", end="")
    print(f"{rebuilt / update:.0f} times less (at least 50); the first snapshot alone {taken[0] * 1e3:.0f} ms")
