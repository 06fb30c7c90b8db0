# SPDX-License-Identifier: GPL-3.0-or-later
"""What a snapshot costs, against what else there is (make bench): the targets stand beside what was measured.

Two synthetic Journals go through the same days on one disk: ours, and one that `cp -al`, borg and restic back up. Each
time ends when all is on the disk; what is read is in memory for all of them.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

import school
from schoolserver import btrfs, datastore, engines, pins, snapshot
from schoolserver.engines import DATASTORE
from synthetic import Journal

RUNS = 5
DOCUMENTS = 1000
CACHES = ("index", "checksums")
DISKS = {
    "btrfs": (["mkfs.btrfs", "-q"], "loop,noatime,compress=zstd,noacl"),
    "ext4": (["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"], "loop,noatime"),
}
MEGA = 1e6

pytestmark = pytest.mark.bench


def timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, f"{command[0]} failed: {done.stderr.strip()[-500:]}"
    return done.stdout


def used(disk: Path) -> int:
    """Return the bytes that are taken on the disk, doubled metadata counted twice."""
    settle(disk)
    if not btrfs.is_btrfs(disk):
        status = os.statvfs(disk)
        return (status.f_blocks - status.f_bfree) * status.f_frsize
    lines = re.findall(r"^\w+, (\w+): .*used=(\d+)$", run("btrfs", "filesystem", "df", "--raw", disk), re.MULTILINE)
    return sum(int(taken) * (2 if profile == "DUP" else 1) for profile, taken in lines)


def settle(disk: Path) -> None:
    """Return when all is written, and what was removed is really gone: btrfs cleans up in the background."""
    engines.of(disk).sync(disk)
    while btrfs.is_btrfs(disk) and run("btrfs", "subvolume", "list", "-d", disk).strip():
        time.sleep(0.001)


@dataclass
class Theirs:
    """The three others, each with a repository of its own beside the Journal that they back up."""

    disk: Path
    memory: Path  # for what borg and restic keep elsewhere
    journal: Path

    def begin(self) -> None:
        (self.disk / "links").mkdir()
        self._run("borg", "init", "--encryption=none", self.disk / "borg")
        self._run("restic", "--quiet", "init", "--repo", self.disk / "restic")

    def links(self, name: str) -> None:
        run("cp", "-al", self.journal, self.disk / "links" / name)
        engines.of(self.disk).sync(self.disk)

    def borg(self, name: str) -> None:
        self._run("borg", "create", *self._without_caches(), f"{self.disk}/borg::{name}", self.journal)

    def restic(self, name: str) -> None:
        command = ["restic", "--quiet", "backup", *self._without_caches(), f"--repo={self.disk}/restic"]
        self._run(*command, self.journal)

    def each(self) -> dict[str, Callable[[str], None]]:
        return {"cp -al": self.links, "borg": self.borg, "restic": self.restic}

    def _without_caches(self) -> list[str]:
        return [f"--exclude={self.journal / cache}" for cache in CACHES]

    def _run(self, *command: str | Path) -> None:
        run(
            *command,
            BORG_BASE_DIR=str(self.memory),
            BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes",
            RESTIC_PASSWORD="synthetic",
            RESTIC_CACHE_DIR=str(self.memory / "restic"),
        )
        engines.of(self.disk).sync(self.disk)


@dataclass
class Ours:
    """A tree, and a clock of its own: a snapshot a day, so that none is refused."""

    tree: Path
    days: int = 0

    def engine_alone(self) -> None:
        """Do what the engine does for a snapshot, on the disk at the end."""
        engine = engines.of(self.tree)
        newest = datastore.snapshots(self.tree)[-1:]
        previous = self.tree / "datastore" / newest[0] if newest else None
        engine.take(self.tree / DATASTORE.incoming, self.unfinished, previous, DATASTORE)
        engine.sync(self.tree)

    @property
    def unfinished(self) -> Path:
        return self.tree / "datastore" / ".bench.new"

    def take(self) -> float:
        """Take a snapshot as the service does; return the seconds until datastore-latest led to it, on the disk."""
        school.end_run(self.tree)
        self.days += 1
        whole: list[float] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(snapshot, "_tell", lambda *_: whole.append(time.monotonic()))
            started = time.monotonic()
            assert snapshot.take(self.tree, school.day(self.days))
        return whole[0] - started


@dataclass
class Figures:
    """What was measured, by name, in seconds or megabytes; and the table."""

    measured: dict[str, list[float]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def add(self, name: str, figure: float) -> None:
        self.measured.setdefault(name, []).append(figure)

    def __getitem__(self, name: str) -> float:
        return statistics.median(self.measured[name])

    def less(self, what: str, ours: str, theirs: str, target: float | None) -> None:
        """Note how many times less `ours` is than `theirs`; `target` is the least that it is to be."""
        times = self[theirs] / max(self[ours], 1e-9)
        self._note(what, ours, theirs, f"{times:.1f} times less", target and (f"{target} times less", times >= target))

    def within(self, what: str, ours: str, theirs: str, target: float | None) -> None:
        """Note how many times `theirs` ours takes; `target` is the most that it is to be."""
        times = self[ours] / self[theirs]
        self._note(what, ours, theirs, f"{times:.2f} times it", target and (f"within {target} times", times <= target))

    def apart(self, what: str, ours: str, theirs: str, target: float) -> None:
        """Note how far `ours` is above `theirs`, in milliseconds."""
        more = 1000 * (self[ours] - self[theirs])
        self._note(what, ours, theirs, f"{more:+.0f} ms", (f"within {target:.0f} ms", more <= target))

    def _note(self, what: str, ours: str, theirs: str, ratio: str, target: tuple[str, bool] | float | None) -> None:
        asked, met = target if isinstance(target, tuple) else ("", True)
        verdict = "" if not asked else "met" if met else "MISSED"
        self.lines.append(
            f"{what:32} {ours:20} {self[ours]:9.4f}   {theirs:22} {self[theirs]:9.4f}   {ratio:18} {asked:18} {verdict}"
        )


def machine() -> str:
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"


@pytest.fixture(params=list(DISKS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def disk(kind: str, tmp_path: Path) -> Iterator[Path]:
    """A disk of eight gigabytes with nothing on it."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    if absent := [name for name in ("borg", "restic") if shutil.which(name) is None]:
        pytest.skip(f"{' and '.join(absent)} missing, which it is compared with: apt-get install borgbackup restic")
    image, root = tmp_path / "image", tmp_path / "disk"
    make, options = DISKS[kind]
    root.mkdir()
    run("truncate", "--size", "8G", image)
    run(*make, image)
    run("mount", "-o", options, image, root)
    yield root
    run("umount", root)
    image.unlink()


@dataclass
class Bench:
    """What is measured on one disk, step by step."""

    disk: Path
    theirs: Theirs
    ours: Ours
    journal: Journal  # ours: incoming
    other: Journal  # the same, which they back up
    figures: Figures

    def costs(self, name: str, work: Callable[[], object]) -> None:
        """Note the seconds of `work` and the megabytes that it takes."""
        before = used(self.disk)
        self.figures.add(name, timed(work))
        self.figures.add(f"{name} MB", (used(self.disk) - before) / MEGA)

    def sync(self) -> None:
        engines.of(self.disk).sync(self.disk)

    def begin(self) -> None:
        """Take the base, of our incoming and a first snapshot; caches are on neither side."""
        before = used(self.disk)
        self.journal.make(DOCUMENTS)
        self.figures.add("incoming MB", (used(self.disk) - before) / MEGA)
        self.ours.take()
        self.figures.add("base MB", (used(self.disk) - before) / MEGA)
        self.journal.make_caches()
        self.other.make(DOCUMENTS)
        self.other.make_caches()
        self.theirs.begin()
        for name, backup in self.theirs.each().items():
            self.costs(f"{name} base", partial(backup, "base"))

    def school_day(self, number: int) -> None:
        """Our incoming is on the server, theirs is the laptop: what the laptop sent counts for ours alone."""
        before = used(self.disk)
        self.journal.pass_day()
        self.sync()
        self.figures.add("snapshot", timed(self.ours.engine_alone))
        self.figures.add("day MB", (used(self.disk) - before) / MEGA)
        engines.of(self.disk).remove(self.ours.unfinished)
        settle(self.disk)
        self.figures.add("latest moved", self.ours.take())
        self.other.pass_day()
        self.sync()
        for name, backup in self.theirs.each().items():
            self.costs(name, partial(backup, f"day{number}"))

    def unchanged_day(self, number: int) -> None:
        self.costs("unchanged", self.ours.take)
        self.costs("cp -al unchanged", partial(self.theirs.links, f"unchanged{number}"))

    def remove_the_oldest(self) -> None:
        oldest = datastore.snapshots(self.ours.tree)[0]
        started = time.monotonic()
        engines.of(self.disk).remove(self.ours.tree / "datastore" / oldest)
        self.sync()
        self.figures.add("removed", time.monotonic() - started)
        settle(self.disk)
        self.figures.add("removed, cleaned", time.monotonic() - started)
        started = time.monotonic()
        run("rm", "-rf", min((self.disk / "links").iterdir()))
        self.sync()
        self.figures.add("rm -rf", time.monotonic() - started)

    def all_leave(self) -> None:
        """A reflash: nothing is left; then everything comes back, for the next time."""
        whole = self.ours.tree / "datastore" / datastore.snapshots(self.ours.tree)[-1]
        drawers = sorted({uid[:2] for uid in self.journal.uids})
        for drawer in drawers:
            shutil.rmtree(self.journal.directory / drawer)
        self.sync()
        self.figures.add("all left", self.ours.take())
        assert pins.read(self.ours.tree)[whole.name].documents >= DOCUMENTS
        run("cp", "-a", *(whole / drawer for drawer in drawers), self.journal.directory)
        self.ours.take()


def test_a_snapshot_against_cp_borg_and_restic(disk: Path, kind: str, tmp_path: Path) -> None:
    theirs = Theirs(disk, tmp_path / "memory", disk / "journal")
    for place in (theirs.memory, disk / "users"):
        place.mkdir()
    ours, figures = Ours(school.make_tree(disk / "users")), Figures()
    journal = Journal(ours.tree / DATASTORE.incoming, owner=school.LEARNER)
    bench = Bench(disk, theirs, ours, journal, Journal(theirs.journal), figures)
    bench.begin()
    for number in range(RUNS):
        bench.school_day(number)
        bench.unchanged_day(number)
    for _ in range(RUNS):
        bench.remove_the_oldest()
    for _ in range(RUNS):
        bench.all_leave()

    def on_btrfs(target: float) -> float | None:
        return target if kind == "btrfs" else None

    if kind == "btrfs":
        figures.less("a snapshot, s", "snapshot", "cp -al", 40)
    else:
        figures.within("a snapshot, s", "snapshot", "cp -al", 1.3)
    for name in ("borg", "restic"):
        figures.less("a snapshot, s", "snapshot", name, on_btrfs(80))
    figures.less("an unchanged day, MB", "unchanged MB", "cp -al unchanged MB", on_btrfs(80))
    # On btrfs three doubled blocks of 16 kB are the least: its root, and the way to its owner; each flag takes more.
    for name in ("borg", "restic"):
        figures.within("a school day, MB", "day MB", f"{name} MB", on_btrfs(1.3))
        figures.within("the base, MB", "base MB", f"{name} base MB", on_btrfs(1.8))
    figures.less("removing the oldest, s", "removed", "rm -rf", on_btrfs(8))
    figures.less("  with what goes on behind", "removed, cleaned", "rm -rf", None)
    figures.apart("session's end to latest, s", "latest moved", "snapshot", 150)
    figures.within("a thousand documents leave, s", "all left", "latest moved", 3)
    print(f"\n{machine()}; {kind}; {DOCUMENTS} documents, {figures['incoming MB']:.0f} MB; medians of {RUNS}")
    print("\n".join(figures.lines))
