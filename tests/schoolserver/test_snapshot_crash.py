# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot is killed, or the power goes, at each call that changes the disk, on each file system.

No part of a snapshot is ever seen, nothing that a completed run held is lost, and the next start needs no person.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import crashing
import power
import school
from crashing import Call
from power import Disk, Outage
from promises import Story
from schoolserver import catalog, datastore, keepsakes, pins

FILE_SYSTEMS = ("btrfs", "ext4", "xfs")
KILLS = 12  # of each case on each file system in the default run; `make soak` has all of them
CUTS = 2  # the same of power cuts, each at once and after a commit
MOST_CUTS = 35  # of each case, in `make soak`; with the cases and the two ways, more than 200 on each file system
AGAIN = 3  # places of a first crash after which each call of the repair is killed as well


def day_0(story: Story, documents: int, small: int = 0) -> None:
    for number in range(documents):
        story.write(number, b"first words %d" % number)
    for number in range(documents, documents + small):
        story.write_small(number, b"small %d" % number)
    story.write_file("letter", b"dear")
    story.write_file("list", b"one")
    story.end_run()


def a_day(story: Story) -> None:
    day_0(story, 8)
    story.take(school.day(0))
    for number in (0, 1):
        story.write(number, b"second words %d" % number)
    for number in (2, 3, 4):
        story.remove(number)
    story.write(8, b"new words")
    story.write_file("letter", b"dear all")
    (story.tree / "documents" / "list").unlink()
    story.end_run()


def a_reflash(story: Story) -> None:
    day_0(story, 6, 50)
    story.take(school.day(0))
    story.write(0, b"second words")
    for number in range(2, 56):
        story.remove(number)
    story.write(60, b"new words")
    story.write_file("letter", b"dear all")
    story.end_run()


def a_first_run(story: Story) -> None:
    day_0(story, 4)


def a_return(story: Story) -> None:
    """After a loss that was pinned everything comes back, so the pin goes; and one document leaves."""
    a_reflash(story)
    story.take(school.day(1))
    for number in range(2, 6):
        story.write(number, b"first words %d" % number)
    for number in range(6, 56):
        story.write_small(number, b"small %d" % number)
    story.remove(60)
    story.end_run()


CASES: dict[str, Callable[[Story], None]] = {
    "a day": a_day,
    "a reflash": a_reflash,
    "a first run": a_first_run,
    "all that was lost comes back": a_return,
}
OFTEN = ("a day", "a reflash")
IN_EACH_CASE = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
IN_SOME_CASES = pytest.mark.parametrize("case", [CASES[name] for name in OFTEN], ids=OFTEN)
WITH_A_REFLASH = pytest.mark.parametrize("case", [a_reflash], ids=["a reflash"])
ON_EACH_FILE_SYSTEM = pytest.mark.parametrize("kind", FILE_SYSTEMS)

NOW, LATER = school.day(2), school.day(3)


@dataclass
class Play:
    """A case whose last run waits for its snapshot."""

    case: Callable[[Story], None]
    top: Path
    story: Story

    def prepare(self) -> None:
        if self.top.exists():
            school.clear(self.top)
        self.top.mkdir()
        self.story.begin()
        self.case(self.story)

    def act(self) -> object:
        return self.story.take(NOW)

    def repair(self) -> None:
        self.story.start(LATER)

    def check_repaired(self) -> None:
        self.story.check_repaired()
        assert len(datastore.snapshots(self.story.tree)) - taken_before(self.case) in (1, 2)

    def check_at_once_and_after_the_next_start(self) -> None:
        self.story.check_now()
        self.repair()
        self.check_repaired()


def taken_before(case: Callable[[Story], None]) -> int:
    if case is a_first_run:
        return 0
    return 2 if case is a_return else 1


def play_in(case: Callable[[Story], None], directory: Path) -> Play:
    top = directory / "library"
    return Play(case, top, Story(top / "users"))


@pytest.fixture
def play(case: Callable[[Story], None], any_library: Path) -> Play:
    if reason := crashing.missing():
        pytest.skip(reason)
    play = play_in(case, any_library)
    play.prepare()
    return play


@IN_SOME_CASES
def test_killed_anywhere_no_part_is_seen_and_the_next_start_finishes(play: Play) -> None:
    points = crashing.spread(crashing.calls(play.act, play.story.tree), KILLS)
    crashing.crash_at_each(points, play.prepare, play.act, play.check_at_once_and_after_the_next_start)


@pytest.mark.parametrize("case", [a_return], ids=["all that was lost comes back"])
def test_what_comes_back_is_let_go_of_only_where_it_is_whole_again(play: Play) -> None:
    points = [call for call in crashing.calls(play.act, play.story.tree) if call.name in {"rename", "fsync"}]
    assert any(pins.FILE in call.text for call in points)
    crashing.crash_at_each(points, play.prepare, play.act, play.check_at_once_and_after_the_next_start)


@pytest.mark.soak
@IN_EACH_CASE
def test_killed_at_any_call_it_is_the_same(play: Play) -> None:
    points = crashing.calls(play.act, play.top)
    crashing.crash_at_each(points, play.prepare, play.act, play.check_at_once_and_after_the_next_start)
    print(f"counted: {len(points)} kills")


@pytest.mark.soak
@IN_SOME_CASES
def test_killed_again_at_any_call_of_the_repair_it_is_the_same(play: Play) -> None:
    kills = 0
    for first in crashing.spread(crashing.calls(play.act, play.story.tree), AGAIN):

        def prepare(first: Call = first) -> None:
            play.prepare()
            crashing.kill_before(first, play.act)

        prepare()
        points = crashing.calls(play.repair, play.story.tree)
        crashing.crash_at_each(points, prepare, play.repair, play.check_at_once_and_after_the_next_start)
        kills += len(points)
    print(f"counted: {kills} kills of a repair")


@WITH_A_REFLASH
def test_one_line_tells_of_what_the_next_start_finished(play: Play, capfd: pytest.CaptureFixture[str]) -> None:
    point = next(call for call in crashing.calls(play.act, play.story.tree) if call.name.startswith("rename"))
    play.prepare()
    crashing.kill_before(point, play.act)
    capfd.readouterr()
    play.repair()
    said = capfd.readouterr()
    both = "2026-11-26T101500Z and documents-history/2026-11-26T101500Z"
    assert said == (f"SHC12345678: took {both}, which was waiting\n", "")
    play.repair()
    assert capfd.readouterr() == ("", "")


# From here on the power goes.


@pytest.fixture
def dark(case: Callable[[Story], None], kind: str, tmp_path: Path) -> Iterator[tuple[Play, Outage]]:
    """The case on a disk that forgets what was not flushed."""
    if reason := crashing.missing() or power.missing(kind):
        pytest.skip(reason)
    with Disk(tmp_path / "disk", kind) as disk:
        play = play_in(case, disk.root)
        outage = Outage(disk, tmp_path / "copy", play.act)
        outage.begin(play.prepare)
        yield play, outage


@ON_EACH_FILE_SYSTEM
@IN_SOME_CASES
def test_after_a_power_cut_no_part_is_seen_and_the_next_start_finishes(dark: tuple[Play, Outage]) -> None:
    play, outage = dark
    points = crashing.spread(outage.points(play.story.tree)[1:-1], CUTS)
    outage.cut_at_each(points, play.check_at_once_and_after_the_next_start)


@pytest.mark.soak
@ON_EACH_FILE_SYSTEM
@IN_EACH_CASE
def test_after_a_power_cut_at_any_call_it_is_the_same(dark: tuple[Play, Outage], kind: str) -> None:
    play, outage = dark
    points = crashing.spread(outage.points(play.story.tree), MOST_CUTS)
    outage.cut_at_each(points, play.check_at_once_and_after_the_next_start)
    print(f"counted: {2 * len(points)} power cuts on {kind}")


@ON_EACH_FILE_SYSTEM
@WITH_A_REFLASH
def test_once_it_was_answered_a_power_cut_loses_nothing(dark: tuple[Play, Outage]) -> None:
    play, outage = dark
    stamp = play.act()
    outage.cut_power()
    assert datastore.snapshots(play.story.tree)[-1] == stamp
    assert os.readlink(play.story.tree / "datastore-latest") == f"datastore/{stamp}"
    play.check_at_once_and_after_the_next_start()


# That the cases are what they are called.


@pytest.mark.parametrize(
    ("case", "kept", "reasons"),
    [
        (a_day, 3, []),
        (a_reflash, 0, [{pins.BULK_LOSS, pins.KEEPSAKES}]),
        (a_return, 1, []),
    ],
    ids=["a day", "a reflash", "a return"],
)
def test_a_case_makes_keepsakes_or_pins(
    case: Callable[[Story], None], kept: int, reasons: list[set[str]], any_library: Path
) -> None:
    play = play_in(case, any_library)
    play.prepare()
    play.act()
    play.story.check_repaired()
    assert len(list(keepsakes.every(play.story.tree))) == kept
    assert [pin.why for pin in pins.read(play.story.tree).values()] == reasons
    catalog.make_ready(play.story.catalog, play.story.users)
