# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import school
from schoolserver import decay
from schoolserver.decay import Decayed, Passes, Piece

BAD, WORSE = Decayed("SHC11111111/datastore/x", decay.DISK), Decayed("", "3 blocks")


def test_a_pass_is_due_at_first_each_month_and_while_one_is_under_way() -> None:
    assert decay.is_due(Passes(), school.day(0))
    done = decay.end(decay.begin(Passes(), school.day(0)), school.day(0))
    assert not decay.is_due(done, school.day(27))
    assert decay.is_due(done, school.day(28))
    assert decay.is_due(done, school.day(-1)), "the clock had leapt when it ended"
    assert decay.is_due(decay.begin(done, school.day(28)), school.day(29))


def test_what_was_found_stays_told_until_a_whole_pass_does_not_find_it_again() -> None:
    first = decay.plus(decay.begin(Passes(), school.day(0)), Piece("a", 5, [BAD, BAD], 2))
    assert first.all_decayed == [BAD]
    first = decay.end(first, school.day(1))
    second = decay.plus(decay.begin(first, school.day(30)), Piece("b", 1, [WORSE]))
    assert (second.begun, second.after, second.bytes, second.corrected) == ("2026-12-23T101500Z", "b", 1, 0)
    assert second.all_decayed == [WORSE, BAD]
    assert decay.begin(second, school.day(31)) == second
    assert decay.end(second, school.day(31)).all_decayed == [WORSE]


def test_no_more_files_are_named_than_a_person_can_look_at() -> None:
    many = [Decayed(str(number), decay.DISK) for number in range(decay.MOST + 5)]
    assert len(decay.plus(Passes(), Piece("a", 5, many)).found) == decay.MOST


DECAYED = st.lists(st.builds(Decayed, st.text(max_size=9), st.text(max_size=9)), max_size=3).map(tuple)
STAMPS = st.just("") | st.datetimes(min_value=school.START.replace(tzinfo=None)).map(lambda d: f"{d:%Y-%m-%dT%H%M%SZ}")
PASSES = st.builds(Passes, STAMPS, st.text(max_size=9), st.integers(0), st.integers(0), DECAYED, STAMPS, DECAYED)


@given(passes=PASSES)
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, passes: Passes) -> None:
    file = tmp_path_factory.mktemp("state") / decay.FILE
    decay.write(file, passes, 0)
    assert decay.read(file) == passes


@pytest.mark.parametrize(
    "damage",
    ["", "[]", "{}", "[" * 100_000, {"begun": "yesterday"}, {"begun": 7}, {"ended": None}, {"found": [1]},
     {"after": 5}, {"bytes": "5"}, {"corrected": True}, {"more": 1}, {"decayed": [{"path": "x"}]}],
)  # fmt: skip
def test_a_damaged_file_is_as_if_nothing_was_ever_verified(tmp_path: Path, damage: object) -> None:
    file = tmp_path / decay.FILE
    decay.write(file, Passes(), 0)
    text = damage if isinstance(damage, str) else json.dumps({**json.loads(file.read_text()), **dict(damage)})  # type: ignore[call-overload]
    file.write_text(text)
    assert decay.read(file) == Passes()
