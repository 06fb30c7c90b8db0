# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshot names never go backwards, whatever the clock does."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolserver import stamps

times = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


def test_a_stamp_is_the_servers_time_in_utc() -> None:
    assert stamps.next_stamp(datetime(2026, 11, 23, 10, 15, 0, tzinfo=UTC), None) == "2026-11-23T101500Z"


def test_a_clock_that_went_back_gives_one_second_after_the_newest() -> None:
    assert stamps.next_stamp(datetime(1970, 1, 1, tzinfo=UTC), "2026-11-23T101559Z") == "2026-11-23T101600Z"


@given(st.lists(times, min_size=2, max_size=20))
def test_names_sort_in_the_order_they_were_given_for_any_clock(clock: list[datetime]) -> None:
    names: list[str] = []
    for now in clock:
        names.append(stamps.next_stamp(now, names[-1] if names else None))
    assert names == sorted(set(names))
    assert all(stamps.is_stamp(name) for name in names)


@given(times)
def test_a_stamp_reads_back_as_its_time(now: datetime) -> None:
    assert stamps.time_of(stamps.next_stamp(now, None)) == now.replace(microsecond=0)


@pytest.mark.parametrize(
    "name",
    ["", ".2026-11-23T101500Z.new", "2026-11-23T101500Z\n", "2026-13-23T101500Z", "２026-11-23T101500Z", "latest"],
)
def test_other_names_are_no_stamps(name: str) -> None:
    assert not stamps.is_stamp(name)
