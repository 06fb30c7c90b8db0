# SPDX-License-Identifier: GPL-3.0-or-later
"""After a leap of the clock nothing is deleted for a week of running."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from schoolserver import rotation_clock
from schoolserver.rotation_clock import LEAP, WAIT, Clock, looked_at, why_not

DAY = 86_400.0
WALL = 1_795_000_000.0
SECONDS = st.floats(0, 4e9)
CLOCKS = st.builds(Clock, SECONDS, SECONDS, st.floats(0, WAIT))


def test_night_by_night_nothing_has_leapt() -> None:
    clock = None
    for night in range(400):
        clock = looked_at(clock, WALL + night * DAY, 5000 + night * DAY)
        assert why_not(clock) == ""


def test_a_first_look_has_nothing_to_compare_with() -> None:
    assert looked_at(None, WALL, 100) == Clock(WALL, 100)


def test_after_a_leap_it_waits_for_a_week_of_running_and_says_what_to_do() -> None:
    clock = looked_at(Clock(WALL, 5000), WALL + 14_000 * DAY, 5000 + DAY)
    assert clock.wait == WAIT
    assert why_not(clock) == (
        "the clock leapt ahead to 2065-03-18 11:06 UTC: nothing is removed for 7.0 more days of running, "
        "so that it can be set right (timedatectl set-time)"
    )
    waits = [clock := looked_at(clock, clock.wall + DAY, clock.up + DAY) for _ in range(8)]
    assert [bool(why_not(one)) for one in waits] == [True] * 6 + [False] * 2


def test_holidays_of_forty_days_without_power_are_no_leap() -> None:
    assert looked_at(Clock(WALL, 5 * DAY), WALL + 40 * DAY, 60).wait == 0
    assert looked_at(Clock(WALL, 5 * DAY), WALL + 41 * DAY, 60).wait == WAIT


def test_days_without_power_do_not_count_as_running() -> None:
    waiting = Clock(WALL, 5 * DAY, WAIT)
    assert looked_at(waiting, WALL + 10 * DAY, DAY).wait == WAIT - DAY


def test_a_clock_that_goes_back_is_no_leap() -> None:
    assert looked_at(Clock(WALL, 5000), 0, 5000 + DAY).wait == 0


def test_where_the_network_has_the_time_nothing_is_waited_for() -> None:
    assert why_not(rotation_clock.trusted(Clock(WALL, 5000, WAIT))) == ""


@given(CLOCKS, SECONDS, SECONDS)
def test_only_what_ran_shortens_the_wait(before: Clock, wall: float, up: float) -> None:
    after = looked_at(before, wall, up)
    passed = up - before.up if up >= before.up else up
    assert after.wait in (WAIT, max(0.0, before.wait - passed))
    assert (after.wait == WAIT) or wall - before.wall - passed <= LEAP


@given(st.lists(st.floats(0, 39 * DAY), min_size=1), st.floats(41, 40_000))
def test_a_leap_is_seen_wherever_it_falls(nights: list[float], leap: float) -> None:
    clock = Clock(WALL, 0)
    for passed in nights:
        clock = looked_at(clock, clock.wall + passed, clock.up + passed)
    leapt = looked_at(clock, clock.wall + leap * DAY + 60, clock.up + 60)
    assert leapt.wait == WAIT
    looks = [leapt := looked_at(leapt, leapt.wall + 3600, leapt.up + 3600) for _ in range(200)]
    assert all(one.wait == 0 or two.wait < one.wait for one, two in pairwise(looks))
