# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotation is killed, or the power goes, at each call that changes the disk, on each file system.

No part of a snapshot is ever seen, no last copy is lost, the catalog names no copy that is gone, and the next rotation
finishes the work on the same day.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import crashing
import power
import school
from power import Disk, Outage
from promises import Story
from schoolserver import datastore, pins, rotation, rotation_record
from schoolserver.engines import DOCUMENTS, KINDS
from schoolserver.house import House
from schoolserver.rotation_plan import Policy, Space

FILE_SYSTEMS = ("btrfs", "ext4", "xfs")
KILLS = 14  # on each file system in the default run; `make soak` has all of them
CUTS = 2  # the same of power cuts, each at once and after a commit
MOST_CUTS = 35  # in `make soak`
START = datetime(2020, 1, 6, 10, 15, tzinfo=UTC)  # before any snapshot here is really named, as on a true clock
DAYS = 5
NOW = START + timedelta(days=DAYS)
POLICY = Policy(2, 2, 2)  # of the five days the first two go; one of them is pinned in some way


@dataclass
class Play:
    """Five days of a tree wait for their rotation."""

    top: Path
    story: Story

    @property
    def here(self) -> House:
        return House(self.story.users, self.top, self.top / "extrausers", self.top / "keys")

    def prepare(self) -> None:
        if self.top.exists():
            school.clear(self.top)
        self.top.mkdir()
        self.story.begin()
        for day in range(DAYS):
            for number in range(day, 4):
                self.story.write(number, b"words %d of day %d" % (number, day))
            if day:
                self.story.remove(day - 1)
            self.story.write_file("letter", b"dear all, day %d" % day)
            self.story.end_run()
            self.story.take(START + timedelta(days=day))

    def act(self) -> object:
        outcomes = list(rotation.rotate(self.here, POLICY, Space(), NOW))
        assert not any(outcome.error for outcome in outcomes), outcomes
        return outcomes

    def check_now(self) -> None:
        self.story.check_now()
        # Of a copy: who may only read cannot undo a change that a crash broke off; the next writer does.
        for file in self.top.glob("catalog.db*"):
            shutil.copy(file, self.top.parent)
        with closing(sqlite3.connect(self.top.parent / "catalog.db")) as database:
            known = {row[0] for row in database.execute("SELECT stamp FROM snapshots")}
        for file in self.top.parent.glob("catalog.db*"):
            file.unlink()
        assert known <= set(datastore.snapshots(self.story.tree)), "the catalog names a snapshot that is gone"

    def check_repaired(self) -> None:
        self.check_now()
        self.story.check_repaired()
        for kind in KINDS:
            days = [stamp[8:10] for stamp in datastore.snapshots(self.story.tree, kind.snapshots)]
            assert days == ["08", "09", "10"]
        last = rotation_record.read(self.top / rotation_record.FILE).last
        assert last is not None
        assert (last.stopped, last.failed) == ("", {})

    def check_at_once_and_after_the_next_rotation(self) -> None:
        self.check_now()
        self.story.start(NOW)
        self.act()
        self.check_repaired()


def play_in(directory: Path) -> Play:
    top = directory / "library"
    return Play(top, Story(top / "users"))


@pytest.fixture
def play(any_library: Path) -> Play:
    if reason := crashing.missing():
        pytest.skip(reason)
    play = play_in(any_library)
    play.prepare()
    return play


def test_what_goes_are_two_days_of_both_directories(play: Play) -> None:
    (outcome,) = rotation.rotate(play.here, POLICY, Space(), NOW)
    assert len(outcome.removed) == 4
    assert sum(name.startswith(DOCUMENTS.snapshots) for name in outcome.removed) == 2
    play.check_repaired()


def test_killed_anywhere_no_part_is_seen_and_the_next_rotation_finishes(play: Play) -> None:
    points = crashing.spread(crashing.calls(play.act, play.top), KILLS)
    crashing.crash_at_each(points, play.prepare, play.act, play.check_at_once_and_after_the_next_rotation)


@pytest.mark.soak
def test_killed_at_any_call_it_is_the_same(play: Play) -> None:
    points = crashing.calls(play.act, play.top)
    crashing.crash_at_each(points, play.prepare, play.act, play.check_at_once_and_after_the_next_rotation)
    print(f"counted: {len(points)} kills")


# From here on the power goes.


@pytest.fixture
def dark(kind: str, tmp_path: Path) -> Iterator[tuple[Play, Outage]]:
    """The same on a disk that forgets what was not flushed."""
    if reason := crashing.missing() or power.missing(kind):
        pytest.skip(reason)
    with Disk(tmp_path / "disk", kind) as disk:
        play = play_in(disk.root)
        outage = Outage(disk, tmp_path / "copy", play.act)
        outage.begin(play.prepare)
        yield play, outage


ON_EACH_FILE_SYSTEM = pytest.mark.parametrize("kind", FILE_SYSTEMS)


@ON_EACH_FILE_SYSTEM
def test_after_a_power_cut_it_is_the_same(dark: tuple[Play, Outage]) -> None:
    play, outage = dark
    points = crashing.spread(outage.points(play.top)[1:-1], CUTS)
    outage.cut_at_each(points, play.check_at_once_and_after_the_next_rotation)


@pytest.mark.soak
@ON_EACH_FILE_SYSTEM
def test_after_a_power_cut_at_any_call_it_is_the_same(dark: tuple[Play, Outage], kind: str) -> None:
    play, outage = dark
    points = crashing.spread(outage.points(play.top), MOST_CUTS)
    outage.cut_at_each(points, play.check_at_once_and_after_the_next_rotation)
    print(f"counted: {2 * len(points)} power cuts on {kind}")


# What the record is for.


def test_a_pinned_snapshot_stays_through_all_of_it(play: Play) -> None:
    first = datastore.snapshots(play.story.tree)[0]
    pins.write(play.story.tree, {first: pins.Pin(frozenset({"exhibition"}), 0, first)})
    point = next(call for call in crashing.calls(play.act, play.story.tree) if call.name.startswith("rename"))
    play.prepare()
    pins.write(play.story.tree, {first: pins.Pin(frozenset({"exhibition"}), 0, first)})
    crashing.kill_before(point, play.act)
    play.act()
    assert first in datastore.snapshots(play.story.tree)
