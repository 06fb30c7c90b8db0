# SPDX-License-Identifier: GPL-3.0-or-later
"""What rotation costs (make bench): to plan for a school and for ten, and a night's removals against `rm -rf`."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import school
from schoolserver import engines, pins, rotation, rotation_trees, snapshot
from schoolserver.house import House
from schoolserver.rotation_plan import Policy, Space
from schoolserver.stamps import FORM
from synthetic import Journal

pytestmark = pytest.mark.bench
SNAPSHOTS = 120
LEARNERS = 300
TREES, DOCUMENTS = 20, 1000  # of a night that is measured; those of 300 learners would take an hour to make
START = datetime(2020, 1, 6, 10, 15, tzinfo=UTC)
DAY = timedelta(days=1)


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that `work` takes in a process of its own, and the megabytes by which that grows."""

    def child(answer: Connection) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        answer.send((seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))

    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=child, args=(theirs,))
    process.start()
    seconds, megabytes = ours.recv()
    process.join()
    return seconds, megabytes


def test_planning_for_a_school_and_for_ten(tmp_path: Path) -> None:
    """The trees are real: directories are listed, pins read, and snapshots looked at where it matters."""
    users, now = tmp_path / "users", START + SNAPSHOTS * DAY
    stamps = [(START + day * DAY).strftime(FORM) for day in range(SNAPSHOTS)]
    pinned = pins.render({stamps[7]: pins.Pin(frozenset({pins.BULK_LOSS}), 700, stamps[8])})
    for first, learners in ((0, LEARNERS), (LEARNERS, 10 * LEARNERS)):
        for number in range(first, learners):
            tree = users / f"SHC{number:08}"
            for stamp in stamps:
                (tree / "datastore" / stamp).mkdir(parents=True)
            (tree / pins.FILE).write_text(pinned)
        for how, used in (("with room", 0), ("on a full disk", 100)):
            seconds, megabytes = measured(partial(rotation_trees.plan_all, users, Policy(), Space(used), {}, now))
            print(f"\nplanning {how} for {learners} learners with {SNAPSHOTS} snapshots each: ", end="")
            print(f"{seconds:.2f} s, {megabytes:.0f} MB (at most 2 s for 300, 200 MB for 3,000)", end="")
    shutil.rmtree(users)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A btrfs as a school has it, with room for the learners of a night."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    image, root = tmp_path / "image", tmp_path / "disk"
    root.mkdir()
    subprocess.run(["truncate", "--size=8G", image], check=True)
    subprocess.run(["mkfs.btrfs", "--quiet", image], check=True)
    subprocess.run(["mount", "-o", "loop,compress=zstd,noacl,noatime", image, root], check=True)
    yield root
    subprocess.run(["umount", root], check=True)
    image.unlink()


def test_a_night_against_rm_of_linked_copies(disk: Path) -> None:
    """One snapshot of each learner goes, with all that rotation does besides; both end on the disk."""
    here = House(disk / "users", disk, disk / "extrausers", disk / "keys")
    copies, journal, catalog, engine = disk / "copies", disk / "journal", disk / "catalog.db", engines.of(disk)
    copies.mkdir()
    Journal(journal).make(DOCUMENTS)
    for number in range(TREES):
        tree = school.make_tree(here.users, f"SHC{number:08}")
        subprocess.run(["cp", "-a", f"{journal}/.", tree / "datastore-current"], check=True)
        for day in (0, 200):
            school.end_run(tree)
            assert snapshot.take(tree, START + day * DAY, catalog)
        for kind in ("yesterday", tree.name):  # what rsnapshot has: the newest stays, an older one goes
            subprocess.run(["cp", "-al", journal, copies / f"{kind}.{number}"], check=True)
    engine.sync(disk)
    # From the disk, as at night: nobody has just read any of it.
    Path("/proc/sys/vm/drop_caches").write_text("3")

    start = time.perf_counter()
    outcomes = list(rotation.rotate(here, Policy(30, 120, 180), Space(), START + 201 * DAY))
    engine.sync(disk)
    ours = time.perf_counter() - start
    assert [len(outcome.removed) for outcome in outcomes] == [1] * TREES

    Path("/proc/sys/vm/drop_caches").write_text("3")
    start = time.perf_counter()
    for copy in sorted(copies.glob("SHC*")):
        subprocess.run(["rm", "-rf", copy], check=True)
    engine.sync(disk)
    theirs = time.perf_counter() - start
    print(f"\none night, {TREES} learners of {DOCUMENTS} documents: rotation {ours:.2f} s, ", end="")
    print(f"rm -rf of cp -al {theirs:.2f} s: {theirs / ours:.1f} times less (at least 8)")
    print(f"that is {LEARNERS / TREES * ours:.0f} s and {LEARNERS / TREES * theirs:.0f} s for {LEARNERS} learners")


def test_backups_while_a_night_of_removals_goes_on(disk: Path) -> None:
    """Sessions of a laptop whose eight documents changed, alone and during rotation on a full disk."""
    here = House(disk / "users", disk, disk / "extrausers", disk / "keys")
    first = Journal(disk / "journal")
    first.make(DOCUMENTS // 5)
    for number in range(TREES):
        tree = school.make_tree(here.users, f"SHC{number:08}")
        subprocess.run(["cp", "-a", f"{first.directory}/.", tree / "datastore-current"], check=True)
        for day in range(30):
            school.end_run(tree)
            assert snapshot.take(tree, START + day * DAY, disk / "catalog.db")
    laptop, busy = Journal(disk / "laptop", seed=9), school.make_tree(here.users, "SHC99999999")
    laptop.make(DOCUMENTS)

    def session() -> float:
        laptop.pass_day()
        start = time.perf_counter()
        with snapshot.held(busy):
            source, target = f"{laptop.directory}/", busy / "datastore-current"
            subprocess.run(["rsync", "-rlt", "--delete", source, target], check=True)
        return time.perf_counter() - start

    session()  # the first one sends everything
    alone = statistics.median(session() for _ in range(15))
    removed: list[int] = []

    def rotate() -> None:
        outcomes = rotation.rotate(here, Policy(), Space(100.0), START + 31 * DAY, patience=60.0)
        removed.extend(len(outcome.removed) for outcome in outcomes)

    night, during = threading.Thread(target=rotate), []
    night.start()
    while night.is_alive():
        during.append(session())
        time.sleep(0.5)
    night.join()
    meanwhile = statistics.median(during)
    print(
        f"\na session alone {alone * 1e3:.0f} ms, while {sum(removed)} snapshots go {meanwhile * 1e3:.0f} ms ", end=""
    )
    print(f"({len(during)} sessions): {meanwhile / alone:.2f} times (at most 1.1)")
