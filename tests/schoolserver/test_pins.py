# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolserver import pins, stamps
from schoolserver.errors import Refusal

STAMP = "2026-11-23T101500Z"
STAMPS = st.datetimes(min_value=datetime(2000, 1, 1)).map(lambda when: when.strftime(stamps.FORM))
PINS = st.dictionaries(
    STAMPS, st.builds(pins.Pin, st.frozensets(st.text(), min_size=1), st.integers(0), STAMPS), max_size=5
)


@given(PINS)
def test_what_is_written_is_what_is_read(given_pins: pins.Pins) -> None:
    assert pins.parse(pins.render(given_pins)) == given_pins


def test_no_file_means_no_pins_and_a_damaged_one_is_no_empty_one(tmp_path: Path) -> None:
    assert pins.read(tmp_path) == {}
    pins.write(tmp_path, {STAMP: pins.Pin(frozenset({"person"}), 3, STAMP)})
    assert pins.read(tmp_path)[STAMP].documents == 3
    for damaged in ("", "[]", '{"x": {}}', '{"2026-11-23T101500Z": []}', '{"2026-11-23T101500Z": {"why": 3}}'):
        (tmp_path / pins.FILE).write_text(damaged)
        with pytest.raises(Refusal, match="damaged"):
            pins.read(tmp_path)


def test_a_pin_goes_with_its_last_reason() -> None:
    both = pins.add(pins.add({}, STAMP, "a", 5, STAMP), STAMP, "b", 2, "2026-11-24T101500Z")
    assert both == {STAMP: pins.Pin(frozenset({"a", "b"}), 5, STAMP)}
    assert pins.release(both, STAMP, "a")[STAMP].why == {"b"}
    assert pins.release(pins.release(both, STAMP, "a"), STAMP, "b") == {}
    assert pins.release({}, STAMP, "a") == {}


OLD, NEW = "2026-11-22T101500Z", "2026-11-23T101500Z"
LOSS, MANY = pins.Pin(frozenset({pins.BULK_LOSS}), 90, NEW), pins.Pin(frozenset({pins.KEEPSAKES}), 60, NEW)


@pytest.mark.parametrize(
    ("taken", "pinned", "best"),
    [
        ([], {}, (None, "none")),
        ([OLD, NEW], {}, (NEW, "newest")),
        ([OLD, NEW], {OLD: MANY}, (NEW, "newest")),
        ([OLD, NEW], {OLD: LOSS}, (OLD, "bulk-loss")),
        ([NEW], {OLD: LOSS}, (NEW, "newest")),
    ],
)
def test_a_restore_offers_the_newest_or_the_one_before_a_bulk_loss(
    taken: list[str], pinned: pins.Pins, best: tuple[str | None, str]
) -> None:
    assert pins.best_of(taken, pinned) == best
