# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import school
from schoolserver import disk_use
from schoolserver.disk_use import Use, weeks_left
from schoolserver.stamps import FORM

GB = 10**9
SIZE = 1000 * GB
FULL = 90
GROWTHS = st.integers(1, 2 * GB)  # bytes a day


def records(days: int, growth: int, start: int = 100 * GB) -> list[Use]:
    """Return the records of `days` days on which the disk filled by `growth` bytes each."""
    return [Use(school.day(day).strftime(FORM), start + day * growth, SIZE) for day in range(days)]


def expected(known: list[Use], growth: int) -> float:
    return (SIZE * FULL / 100 - known[-1].used) / (7 * growth)


@given(st.integers(7, disk_use.DAYS), GROWTHS)
def test_steady_growth_is_forecast_exactly(days: int, growth: int) -> None:
    known = records(days, growth)
    assert weeks_left(known, FULL) == pytest.approx(expected(known, growth))


@given(GROWTHS, st.data())
def test_one_day_in_four_may_be_anything_and_the_forecast_stays(growth: int, data: st.DataObject) -> None:
    known = records(60, growth)
    for day in data.draw(st.sets(st.integers(0, 58), max_size=15)):
        odd = int(known[day].used * data.draw(st.floats(0.8, 1.5)))
        known[day] = Use(known[day].when, odd, SIZE)
    assert weeks_left(known, FULL) == pytest.approx(expected(known, growth))


@given(GROWTHS, st.integers(1, 60), st.integers(1, 90), st.integers(-6000, -131) | st.integers(131, 30_000))
def test_no_leap_of_the_clock_changes_the_forecast(growth: int, at: int, length: int, leap: int) -> None:
    known = records(90, growth)
    wrong = timedelta(days=leap)
    for day in range(at, min(at + length, 90)):
        known[day] = Use((school.day(day) + wrong).strftime(FORM), known[day].used, SIZE)
    assert weeks_left(known, FULL) == pytest.approx(expected(known, growth))


@given(GROWTHS, st.integers(1, 80), st.integers(8, 60), st.sampled_from([SIZE // 2, SIZE, 4 * SIZE]))
def test_what_was_on_another_disk_does_not_count(growth: int, before: int, after: int, size: int) -> None:
    old = [Use(one.when, one.used, size) for one in records(before, 3 * growth, 500 * GB if size >= SIZE else 400 * GB)]
    new = [
        Use((school.day(before + day)).strftime(FORM), one.used, SIZE) for day, one in enumerate(records(after, growth))
    ]
    assert weeks_left([*old, *new], FULL) == pytest.approx(expected(new, growth))


@given(st.lists(st.builds(Use, st.datetimes().map(lambda when: f"{when:%Y-%m-%dT%H%M%SZ}".zfill(18)),
    st.integers(0, 2**63), st.integers(1, 2**63))), st.floats(0, 100))  # fmt: skip
def test_whatever_was_noted_the_forecast_is_none_or_a_time_to_come(known: list[Use], full: float) -> None:
    weeks = weeks_left(known, full)
    assert weeks is None or weeks >= 0


def test_a_full_disk_is_full_now_and_one_that_does_not_fill_up_never_is() -> None:
    assert weeks_left(records(1, 0, 901 * GB), FULL) == 0
    assert weeks_left(records(30, 0), FULL) is None
    assert weeks_left(records(30, -GB), FULL) is None


def test_less_than_a_week_tells_nothing() -> None:
    assert weeks_left([], FULL) is None
    assert weeks_left(records(6, GB), FULL) is None
    assert weeks_left(records(7, GB)[::3], FULL) is None
    assert weeks_left(records(7, GB), FULL) is not None


def test_it_is_noted_once_a_day_and_the_last_days_are_kept(tmp_path: Path) -> None:
    file = tmp_path / disk_use.FILE
    for day in range(disk_use.DAYS + 5):
        for hour in (0, 3):
            disk_use.note(file, tmp_path, school.day(day) + timedelta(hours=hour), 0)
    known = disk_use.read(file)
    assert [one.when for one in known] == [school.day(day).strftime(FORM) for day in range(5, disk_use.DAYS + 5)]
    status = os.statvfs(tmp_path)
    assert known[-1].size == status.f_blocks * status.f_frsize
    assert 0 < known[-1].used <= known[-1].size
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "text", ["", "{}", "[{}]", "[1]", '[{"when": "now", "used": 1, "size": 2}]', "[" * 100_000,
             '[{"when": "2026-11-23T101500Z", "used": "1", "size": 2}]', '[{"when": 7, "used": 1, "size": 2}]',
             '[{"when": "2026-11-23T101500Z", "used": 1, "size": 0}]'],
)  # fmt: skip
def test_a_damaged_file_is_begun_anew(tmp_path: Path, text: str) -> None:
    file = tmp_path / disk_use.FILE
    file.write_text(text)
    assert disk_use.read(file) == []
    disk_use.note(file, tmp_path, school.day(0), 0)
    assert len(disk_use.read(file)) == 1
