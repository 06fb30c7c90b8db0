# SPDX-License-Identifier: GPL-3.0-or-later
"""How a school's laptops spread themselves before a busy server."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xo_client import backoff


@given(st.integers(1, backoff.ATTEMPTS - 1), st.integers(), st.none() | st.integers(0, backoff.LONGEST_ASKED))
def test_a_wait_is_between_what_the_server_asked_for_and_the_doubled_wait(
    attempt: int, seed: int, retry_after: int | None
) -> None:
    seconds = backoff.wait(attempt, random.Random(seed).uniform, retry_after)
    assert seconds is not None
    assert 0 <= seconds - (retry_after or 0) <= min(3840, 60 * 2**attempt)


def test_it_gives_up_for_the_day_where_the_old_client_does() -> None:
    waits = [backoff.wait(attempt, max) for attempt in range(1, 8)]
    assert waits == [120, 240, 480, 960, 1920, 3840, None]


@pytest.mark.parametrize("laptops", [300])
def test_laptops_refused_together_do_not_come_back_together(laptops: int) -> None:
    rng = random.Random(1)
    again = sorted(backoff.wait(3, rng.uniform) or 0 for _ in range(laptops))
    busiest = max(sum(1 for at in again if start <= at < start + 10) for start in range(0, 480, 10))
    assert busiest < laptops / 10  # evenly they would be six in ten seconds


def test_a_class_that_is_switched_on_together_starts_over_twenty_minutes() -> None:
    rng = random.Random(2)
    assert all(0 <= backoff.spread(rng.uniform) <= 1200 for _ in range(100))


@given(st.integers(0, 10**9))
def test_no_server_holds_a_run_until_systemd_ends_it(retry_after: int) -> None:
    unit = Path(__file__).parents[2] / "files/xo-client/units/xo-backup.service"
    waits = [backoff.wait(attempt, max, retry_after) or 0 for attempt in range(1, backoff.ATTEMPTS + 1)]
    assert "TimeoutStartSec=12h\n" in unit.read_text()
    assert backoff.spread(max) + sum(waits) < 11 * 3600
