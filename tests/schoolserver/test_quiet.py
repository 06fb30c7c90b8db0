# SPDX-License-Identifier: GPL-3.0-or-later
"""Who makes way for sessions, and for how long."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schoolserver import quiet
from schoolserver.quiet import Patience


@pytest.fixture
def trees(tmp_path: Path) -> list[Path]:
    found = [tmp_path / name for name in ("SHC00000001", "SHC00000002")]
    for tree in found:
        (tree / ".state").mkdir(parents=True)
        (tree / ".state" / "lock").touch()
    return found


class Time:
    """A clock that goes on only where somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, list[float]()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(quiet, "time", clock)
    return clock


@contextmanager
def session(tree: Path) -> Iterator[int]:
    lock = os.open(tree / ".state" / "lock", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield lock
    finally:
        os.close(lock)


def test_a_session_is_whoever_holds_the_lock(trees: list[Path]) -> None:
    assert not quiet.in_session(trees[0])
    with session(trees[0]):
        assert quiet.in_session(trees[0])
        assert not quiet.in_session(trees[1])
    assert not quiet.in_session(trees[0])


def test_to_look_takes_nobody_the_lock(trees: list[Path]) -> None:
    quiet.in_session(trees[0])
    with session(trees[0]) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_whatever_a_learner_puts_there_it_is_not_followed_or_waited_for(trees: list[Path]) -> None:
    lock = trees[0] / ".state" / "lock"
    makers: list[Callable[[], None]] = [
        lambda: lock.symlink_to(trees[1] / ".state" / "lock"),
        lambda: os.mkfifo(lock),
        lambda: None,
    ]
    for make in makers:
        lock.unlink(missing_ok=True)
        make()
        with session(trees[1]):
            assert not quiet.in_session(trees[0])


def test_without_sessions_nobody_waits_and_looks_are_few(
    trees: list[Path], clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Path] = []

    def look(tree: Path) -> bool:
        looks.append(tree)
        return False

    monkeypatch.setattr(quiet, "in_session", look)
    patience = Patience(trees, 60)
    for _ in range(10):
        patience.wait()
        clock.now += 1
    assert clock.slept == []
    assert looks == trees * 2
    assert not patience.over


def test_it_waits_until_the_session_ends(trees: list[Path], clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "in_session", lambda tree: tree == trees[1] and clock.now < 1012)
    patience = Patience(trees, 60)
    patience.wait()
    assert clock.slept == [5, 5, 5]
    assert not patience.over


def test_its_patience_is_for_all_waits_together(trees: list[Path], clock: Time) -> None:
    patience = Patience(trees, 12)
    with session(trees[1]):
        patience.wait()
        assert clock.slept == [5, 5, 2]
        assert patience.over
        patience.wait()
    assert clock.slept == [5, 5, 2]
