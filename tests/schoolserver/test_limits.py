# SPDX-License-Identifier: GPL-3.0-or-later
"""How many new accounts one address may have: a whole school at the bell, and no flood."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolserver import limits
from schoolserver.errors import Refusal
from schoolserver.limits import A_MINUTE, BURST, NewAccounts

ROUTER = "172.18.0.77"


def passes(buckets: NewAccounts, address: str, now: float) -> bool:
    try:
        buckets.spend(address, now)
    except Refusal:
        return False
    return True


def tokens(buckets: NewAccounts, address: str, now: float) -> int:
    """Return how many accounts `address` gets at `now`, by taking them."""
    return sum(1 for _ in itertools.takewhile(bool, (passes(buckets, address, now) for _ in range(2 * BURST))))


def test_a_school_behind_one_router_registers_at_once_and_then_one_laptop_a_second() -> None:
    buckets = NewAccounts()
    assert tokens(buckets, ROUTER, 1000.0) == BURST == 400
    assert tokens(buckets, ROUTER, 1001.0) == 1
    assert tokens(buckets, ROUTER, 1061.0) == A_MINUTE == 60
    assert tokens(buckets, ROUTER, 1061.0 + 3600) == BURST, "waiting longer gives no more than the burst"


def test_whoever_is_refused_hears_when_to_come_back_and_pays_nothing() -> None:
    buckets = NewAccounts()
    tokens(buckets, ROUTER, 0.0)
    for second in (0.1, 0.5, 0.9):
        with pytest.raises(Refusal, match="too many new laptops registered from here just now: try again in a few"):
            buckets.spend(ROUTER, second)
    assert passes(buckets, ROUTER, 1.0)


def test_a_flood_from_one_address_touches_no_other() -> None:
    buckets = NewAccounts()
    tokens(buckets, ROUTER, 0.0)
    assert tokens(buckets, "172.18.0.78", 0.0) == BURST
    assert tokens(buckets, "2001:db8::1", 0.0) == BURST


def test_this_machine_itself_has_no_limit() -> None:
    buckets = NewAccounts()
    assert all(passes(buckets, "", 0.0) for _ in range(BURST + 1))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ROUTER, f"::ffff:{ROUTER}"),  # one machine that comes over the other family
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff"),  # all of a /64 one machine can have
        ("fe80::1", "fe80::2%eth0"),
        ("no address", "172.18.0.256"),  # what is none is limited too, all of it together
    ],
)
def test_two_addresses_that_one_machine_can_have_count_as_one(first: str, second: str) -> None:
    buckets = NewAccounts()
    assert tokens(buckets, first, 0.0) == BURST
    assert tokens(buckets, second, 0.0) == 0


def test_another_network_is_another_address() -> None:
    buckets = NewAccounts()
    tokens(buckets, "2001:db8:0:1::1", 0.0)
    assert passes(buckets, "2001:db8:0:2::1", 0.0)


def test_ten_thousand_addresses_are_remembered_and_the_quietest_makes_room() -> None:
    buckets = NewAccounts()
    tokens(buckets, ROUTER, 0.0)
    for number in range(limits._MOST_ADDRESSES - 1):
        buckets.spend(f"10.0.{number // 256}.{number % 256}", 0.0)
    assert not passes(buckets, ROUTER, 0.0)
    buckets.spend("10.0.0.0", 0.0)  # heard of again, so no longer the quietest
    buckets.spend("10.1.0.0", 0.0)
    assert len(buckets._buckets) == limits._MOST_ADDRESSES == 10_000
    assert passes(buckets, ROUTER, 0.0), "it had to make room"


CALLS = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 150)), max_size=12)


@given(CALLS)
def test_in_any_stretch_of_time_at_most_the_burst_and_one_a_second_pass(calls: list[tuple[float, int]]) -> None:
    buckets, now, passed = NewAccounts(), 0.0, []
    for pause, wanted in calls:
        now += pause
        passed += [now for _ in range(wanted) if passes(buckets, ROUTER, now)]
    for first, begin in enumerate(passed):
        for last, end in enumerate(passed[first:], first):
            if last + 1 == len(passed) or passed[last + 1] > end:
                assert last - first + 1 <= BURST + (end - begin) * A_MINUTE / 60 + 1e-6


@given(CALLS)
def test_nobody_is_refused_who_keeps_to_the_rate(calls: list[tuple[float, int]]) -> None:
    buckets, now, left = NewAccounts(), 0.0, float(BURST)
    for pause, wanted in calls:
        now, left = now + pause, min(float(BURST), left + pause * A_MINUTE / 60)
        due = min(wanted, int(left - 1e-6))
        left -= due
        assert all(passes(buckets, ROUTER, now) for _ in range(due))
