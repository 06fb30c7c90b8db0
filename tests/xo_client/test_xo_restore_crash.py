# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore is killed, cut off, or the power goes: no document is lost or seen in part, and the next run completes it.

Kills come before each call that changes the disk (crashing.py); what rsync changes meanwhile is met by kills and
cut-offs at random moments.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import crashing
import power
from power import Disk, Outage
from server_side import School, look, uid_of, write
from xo_client import restore
from xo_client.errors import Trouble
from xo_client.progress import Printer
from xo_client.restore import Wish
from xo_client.state import State

KILLS = 10  # in the default run; `make soak` has all of them
CUTS = 3  # the same of power cuts, each at once and after a commit
MOST_CUTS = 35  # in `make soak`
RANDOM, MOST_RANDOM = 10, 100  # kills and cut-offs at random moments
FILE_SYSTEMS = ("btrfs", "ext4", "xfs")

MISSING = [uid_of(number) for number in (1, 2, 3)]
CHANGED = [uid_of(number) for number in (4, 5)]
SAME, ONLY_HERE, BROKEN = uid_of(6), uid_of(7), uid_of(8)
Content = dict[str, tuple[str, bytes]]


@dataclass
class Play:
    """A Journal of which some is gone, some has changed, and some was never on the server."""

    top: Path
    school: School
    big: int = 0  # bytes more in each missing document
    before: dict[str, Content] = field(default_factory=dict)

    @property
    def journal(self) -> Path:
        return self.top / "datastore"

    @property
    def snapshot(self) -> Path:
        return next((self.school.top / "ABC12345678" / "datastore").iterdir())

    def fill_the_school(self) -> None:
        snapshot = self.school.snapshot()
        for number, uid in enumerate(MISSING):
            write(snapshot, uid, title=f"Gone {number}", data=b"gone" + os.urandom(self.big))
        for number, uid in enumerate(CHANGED):
            write(snapshot, uid, title=f"Old {number}", data=b"old")
        write(snapshot, SAME, title="Same")

    def prepare(self) -> None:
        if self.top.exists():
            shutil.rmtree(self.top)
        for cache in ("index", "checksums/queue"):
            (self.journal / cache).mkdir(parents=True)
        (self.journal / "version").write_text("6")
        (self.journal / "index_updated").touch()
        for number, uid in enumerate(CHANGED):
            write(self.journal, uid, title=f"New {number}", data=b"newer", when=1_750_000_000)
        write(self.journal, SAME, title="Same")
        write(self.journal, ONLY_HERE, title="Only here")
        write(self.journal, BROKEN, title="Broken", timestamp="1.5")
        self.before = self.documents()
        os.sync()

    def documents(self) -> dict[str, Content]:
        return {path.name: look(path) for path in self.journal.glob("??/*")}

    def act(self) -> restore.Result:
        engine = restore.Restore(State(self.top), self.school.remote, Silent(), threading.Event())
        return engine.run(self.school.history, Wish())

    def check_now(self) -> None:
        """At no moment is anything lost, or there in part."""
        now = self.documents()
        old = {uid: look(self.snapshot / uid[:2] / uid) for uid in (*MISSING, *CHANGED)}
        for uid in (SAME, ONLY_HERE):
            assert now[uid] == self.before[uid]
        for uid in MISSING:
            assert uid not in now or now[uid] == old[uid]
        versions = [without_name(content) for content in now.values()]
        for uid in CHANGED:
            assert now[uid] in (old[uid], self.before[uid])
            assert without_name(self.before[uid]) in versions
        aside = self.top / "xo-client" / "restore-aside" / BROKEN
        assert self.before[BROKEN] in (now.get(BROKEN), look(aside))
        assert all(content["metadata/uid"][1].decode() == uid for uid, content in now.items())

    def check_completed(self) -> None:
        now = self.documents()
        titles = sorted(content["metadata/title"][1].decode()[:5] for content in now.values())
        assert titles == ["Gone ", "Gone ", "Gone ", "New 0", "New 1", "Old 0", "Old 1", "Only ", "Same"]
        self.check_now()
        assert sorted(path.name for path in (self.top / "xo-client").iterdir()) == ["restore-aside"]
        assert not {path.name for path in self.journal.iterdir()} & {"index", "index_updated", "checksums"}
        before = look(self.top)
        assert self.act().restored == 0
        assert look(self.journal) == {name[10:]: it for name, it in before.items() if name.startswith("datastore/")}

    def check_at_once_and_after_the_next_run(self) -> None:
        self.check_now()
        self.act()
        self.check_completed()


class Silent(Printer):
    def end(self, outcome: str, reason: str, message: str, **facts: object) -> None:
        pass


def without_name(content: Content) -> Content:
    return {name: it for name, it in content.items() if name not in ("metadata/uid", "metadata/title")}


@pytest.fixture
def school(tmp_path: Path) -> School:
    return School(tmp_path / "school")


@pytest.fixture
def play(tmp_path: Path, school: School) -> Play:
    if reason := crashing.missing():
        pytest.skip(reason)
    play = Play(tmp_path / "profile", school)
    play.fill_the_school()
    play.prepare()
    return play


def test_undisturbed_it_is_complete(play: Play) -> None:
    result = play.act()
    assert (result.restored, result.kept) == (5, 2)
    assert [left.title for left in result.left] == ["Broken"]
    play.check_completed()


def test_killed_anywhere_nothing_is_lost_and_the_next_run_completes(play: Play) -> None:
    points = crashing.spread(crashing.calls(play.act, play.top), KILLS)
    crashing.crash_at_each(points, play.prepare, play.act, play.check_at_once_and_after_the_next_run)


@pytest.mark.soak
def test_killed_at_any_call_it_is_the_same(play: Play) -> None:
    points = crashing.calls(play.act, play.top)
    crashing.crash_at_each(points, play.prepare, play.act, play.check_at_once_and_after_the_next_run)
    print(f"counted: {len(points)} kills")


# Moments at random: rsync is at work.


@pytest.fixture
def big(tmp_path: Path, school: School) -> Play:
    play = Play(tmp_path / "profile", school, big=1_000_000)
    play.fill_the_school()
    play.prepare()
    return play


def killed_at_random(play: Play, times: int) -> None:
    """Start a restore again and again until it was killed so many times; now and then let one come to its end."""
    chance, killed = random.Random(7), 0
    while killed < times:
        child = os.fork()
        if child == 0:
            try:
                play.act()
            finally:
                os._exit(0)
        time.sleep(chance.uniform(0, 0.6))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        play.check_now()
        if chance.random() < 0.3:
            play.act()
            play.check_completed()
            play.prepare()
    play.act()
    play.check_completed()
    print(f"counted: {killed} kills")


def test_killed_at_random_nothing_is_lost(big: Play) -> None:
    killed_at_random(big, RANDOM)


@pytest.mark.soak
def test_killed_at_random_a_hundred_times(big: Play) -> None:
    killed_at_random(big, MOST_RANDOM)


def cut_off_at_random(play: Play, times: int) -> int:
    """Restore over a connection that breaks off at random; return how often it did."""
    chance = random.Random(8)
    cut = 0
    while cut < times:
        play.school.cut_off_after(chance.choice([chance.randrange(3000), chance.randrange(3_000_000)]))
        before = look(play.journal)
        try:
            play.act()
        except Trouble as trouble:
            assert trouble.reason == "network"
            assert look(play.journal) == before
            cut += 1
            continue
        play.school.cut_off_after(None)
        play.check_completed()
        play.prepare()
    play.school.cut_off_after(None)
    return cut


def test_cut_off_at_random_the_journal_is_as_it_was_and_the_next_run_goes_on(big: Play) -> None:
    cut_off_at_random(big, RANDOM)
    big.act()
    big.check_completed()


@pytest.mark.soak
def test_cut_off_at_random_a_hundred_times(big: Play) -> None:
    print(f"counted: {cut_off_at_random(big, MOST_RANDOM)} cut-offs")


# From here on the power goes.


@pytest.fixture
def dark(kind: str, tmp_path: Path, school: School) -> Iterator[tuple[Play, Outage]]:
    """The same on a disk that forgets what was not flushed."""
    if reason := crashing.missing() or power.missing(kind):
        pytest.skip(reason)
    with Disk(tmp_path / "disk", kind) as disk:
        play = Play(disk.root / "profile", school)
        play.fill_the_school()
        outage = Outage(disk, tmp_path / "copy", play.act)
        outage.begin(play.prepare)
        yield play, outage


@pytest.mark.parametrize("kind", ["ext4"])  # what most laptops have
def test_after_a_power_cut_it_is_the_same(dark: tuple[Play, Outage]) -> None:
    play, outage = dark
    points = crashing.spread(outage.points(play.top)[1:-1], CUTS)
    outage.cut_at_each(points, play.check_at_once_and_after_the_next_run)


@pytest.mark.soak
@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_after_a_power_cut_at_any_call_it_is_the_same(dark: tuple[Play, Outage], kind: str) -> None:
    play, outage = dark
    points = crashing.spread(outage.points(play.top), MOST_CUTS)
    outage.cut_at_each(points, play.check_at_once_and_after_the_next_run)
    print(f"counted: {2 * len(points)} power cuts on {kind}")
