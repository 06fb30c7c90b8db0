# SPDX-License-Identifier: GPL-3.0-or-later
"""Who was refused lately: counted, bounded, and safe to show on a technician's terminal."""

from __future__ import annotations

import json
import stat
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptops import ANN, JIM, message
from schoolserver import refusals, registrar
from schoolserver.errors import Refusal
from schoolserver.refusals import MOST, Refused
from schoolserver.registrar import Desk
from standing import make_house

WHEN = "2026-11-23T10:15:00Z"
LATER = "2026-11-23T10:20:00Z"


def test_a_refusal_says_who_from_where_why_and_when() -> None:
    (one,) = refusals.add([], message() | {"address": "172.18.0.77"}, "the school is closed", WHEN)
    assert one == Refused(JIM, "Jim", "172.18.0.77", "the school is closed", WHEN, 1)


def test_the_same_refusal_is_counted_and_becomes_the_newest() -> None:
    known = refusals.add([], message(JIM), "closed", WHEN)
    known = refusals.add(known, message(ANN), "closed", WHEN)
    known = refusals.add(known, message(JIM, nick="James"), "closed", LATER)
    assert [(one.serial, one.nick, one.last, one.times) for one in known] == [
        (ANN, "Jim", WHEN, 1),
        (JIM, "James", LATER, 2),
    ]
    assert len(refusals.add(known, message(JIM), "its key is damaged", LATER)) == 3, "another reason is another line"


def test_invented_serials_push_out_only_each_other_and_fill_no_disk() -> None:
    known: list[Refused] = []
    for number in range(3 * MOST):
        known = refusals.add(known, message(f"XXX{number:08}"), "no", WHEN)
    assert [one.serial for one in known] == [f"XXX{number:08}" for number in range(2 * MOST, 3 * MOST)]


@pytest.mark.parametrize("value", [None, 5, ["x"], {"a": 1}, True])
def test_what_is_no_text_is_shown_as_nothing(value: object) -> None:
    (one,) = refusals.add([], {"serial": value, "nick": value, "address": value}, "no", WHEN)
    assert (one.serial, one.nick, one.address) == ("", "", "")


@given(st.text(), st.text(), st.text())
def test_whatever_a_laptop_says_is_one_short_printable_line(serial: str, nick: str, address: str) -> None:
    (one,) = refusals.add([], {"serial": serial, "nick": nick, "address": address}, "no", WHEN)
    for shown in (one.serial, one.nick, one.address):
        assert len(shown) <= 40
        assert all(letter.isprintable() for letter in shown)
        shown.encode()


def test_what_was_written_is_read_again_by_those_who_may(tmp_path: Path) -> None:
    file = tmp_path / "refusals.json"
    known = refusals.add([], message(nick="जीवन"), "no", WHEN)
    refusals.write(file, known, 4711)
    assert refusals.read(file) == known
    status = file.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o640, 4711)
    assert [path.name for path in tmp_path.iterdir()] == ["refusals.json"]


def test_a_missing_file_holds_nothing(tmp_path: Path) -> None:
    assert refusals.read(tmp_path / "refusals.json") == []


GOOD = asdict(Refused(JIM, "Jim", "172.18.0.77", "no", WHEN, 1))


@pytest.mark.parametrize(
    "damaged",
    [b"", b"[", b"\xff", b"5", b"null", b'["x"]', b"[5]", b'{"a": 1}', json.dumps([{**GOOD, "x": 1}]).encode()],
)
def test_a_damaged_file_holds_nothing_and_is_replaced(tmp_path: Path, damaged: bytes) -> None:
    file = tmp_path / "refusals.json"
    file.write_bytes(damaged)
    assert refusals.read(file) == []
    refusals.write(file, refusals.add(refusals.read(file), message(), "no", WHEN), 0)
    assert len(refusals.read(file)) == 1


def test_who_could_not_be_written_for_a_full_disk_is_not_taken_out(tmp_path: Path) -> None:
    desk = Desk(make_house(tmp_path))
    registrar._remember(desk, [message()], [Refusal("closed")])
    registrar._remember(desk, [message()], [OSError("no space left on device")])
    assert [one.serial for one in refusals.read(desk.refused)] == [JIM]
