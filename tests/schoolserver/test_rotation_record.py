# SPDX-License-Identifier: GPL-3.0-or-later
"""What rotation remembers comes back as it was written; whatever else lies there stops nothing."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolserver import rotation_record, stamps
from schoolserver.rotation_clock import Clock
from schoolserver.rotation_record import Last, Record

NOW = datetime(2026, 11, 27, 2, 30, tzinfo=UTC)
WHOLE = Record(
    Clock(1_795_000_000.5, 4711.25, 86_400.0),
    {"SHC12345678": {"2026-08-15T100000Z": "2026-11-27T023000Z"}},
    Last("2026-11-27T023000Z", 3, "", {"SHC00000011": "pins.json is damaged"}),
)
STAMPS = st.datetimes(datetime(2006, 1, 1), datetime(2100, 1, 1)).map(lambda when: when.strftime(stamps.FORM))
NUMBERS = st.floats(0, 1e12)
RECORDS = st.builds(
    Record,
    st.none() | st.builds(Clock, NUMBERS, NUMBERS, NUMBERS),
    st.dictionaries(st.text(), st.dictionaries(st.text(), STAMPS)),
    st.none() | st.builds(Last, STAMPS, st.integers(0), st.text(), st.dictionaries(st.text(), st.text())),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["clock", "ended", "last", "wall", "up"]), inner),
)


def test_without_a_file_nothing_is_remembered(tmp_path: Path) -> None:
    assert rotation_record.read(tmp_path / "none") == Record()


def test_it_comes_back_and_only_its_group_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / rotation_record.FILE
    rotation_record.write(file, WHOLE, 4711)
    assert rotation_record.read(file) == WHOLE
    assert (file.stat().st_mode & 0o777, file.stat().st_gid) == (0o640, 4711)


@given(RECORDS)
def test_any_record_comes_back(record: Record) -> None:
    assert rotation_record.parse(json.dumps(asdict(record))) == record


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b"{", b"7", b"\xff", b"[" * 100_000, b"{}", b'{"clock": 7, "ended": {}, "last": null}']
)
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / rotation_record.FILE
    file.write_bytes(damage)
    assert rotation_record.read(file) == Record()


@given(JSON)
def test_whatever_is_in_the_file_is_read_or_passed_over(tmp_path_factory: pytest.TempPathFactory, said: object) -> None:
    file = tmp_path_factory.getbasetemp() / "said.json"
    file.write_text(json.dumps(said))
    record = rotation_record.read(file)
    assert record.lately(NOW) is not None


def test_what_ended_counts_for_a_day_before_and_after() -> None:
    names = {str(hours): (NOW + timedelta(hours=hours)).strftime(stamps.FORM) for hours in (-25, -23, -1, 0, 23, 25)}
    record = Record(ended={"a": names, "b": {"old": "2020-01-01T000000Z"}})
    assert {tree: list(ended) for tree, ended in record.lately(NOW).items()} == {"a": ["-23", "-1", "0", "23"]}
