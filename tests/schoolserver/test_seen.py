# SPDX-License-Identifier: GPL-3.0-or-later
"""Where laptops were seen last: what a gate and a client say, made safe to show."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptops import ANN, JIM, NOW
from schoolserver import seen
from schoolserver.seen import Sight

SUGAR = "Python-urllib/2.7"
HOUR = timedelta(hours=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "seen.json"


def note(file: Path, address: object = "172.18.0.77", client: str = SUGAR, now: datetime = NOW) -> Sight | None:
    """Return what is known of Jim's tree when this was noted."""
    seen.note(file, JIM, address, client, now)
    return seen.read(file).get(JIM)


def test_a_laptop_is_known_by_its_last_address_client_and_time(file: Path) -> None:
    assert note(file) == Sight("172.18.0.77", SUGAR, "2026-11-23T10:00:00Z")
    assert note(file, "2001:db8::1", "xo-client/1", NOW + HOUR) == Sight(
        "2001:db8::1", "xo-client/1", "2026-11-23T11:00:00Z"
    )


def test_each_tree_is_noted_for_itself(file: Path) -> None:
    note(file)
    seen.note(file, ANN, "172.18.0.78", "", NOW)
    assert {tree: sight.address for tree, sight in seen.read(file).items()} == {JIM: "172.18.0.77", ANN: "172.18.0.78"}


def test_a_client_that_did_not_ask_this_time_is_still_known(file: Path) -> None:
    note(file)
    assert note(file, client="", now=NOW + 2 * HOUR) == Sight("172.18.0.77", SUGAR, "2026-11-23T12:00:00Z")


def test_the_same_again_within_the_hour_is_not_written(file: Path) -> None:
    note(file)
    before = file.stat().st_ino
    note(file, now=NOW + HOUR - timedelta(seconds=1))
    assert file.stat().st_ino == before
    note(file, now=NOW + HOUR)
    assert file.stat().st_ino != before


@pytest.mark.parametrize(("address", "client"), [("172.18.0.78", SUGAR), ("172.18.0.77", "another")])
def test_what_is_new_is_written_at_once(file: Path, address: str, client: str) -> None:
    note(file)
    assert note(file, address, client, NOW + timedelta(seconds=1)) == Sight(address, client, "2026-11-23T10:00:01Z")


@pytest.mark.parametrize(
    "address",
    [None, "", 5.5, [], "UNKNOWN", "172.18.0", "localhost", "fe80::1%\x1b[2J", "fe80::1%{{ lookup('pipe', 'id') }}",
     "fe80::1%" + 100 * "x", "fe80::1%eth0\n"],
)  # fmt: skip
def test_what_is_no_address_is_not_noted(file: Path, address: object) -> None:
    assert note(file, address) is None
    assert not file.exists()


def test_an_address_of_one_link_keeps_its_interface(file: Path) -> None:
    sight = note(file, "fe80::1%eth0")
    assert sight
    assert sight.address == "fe80::1%eth0"


@given(st.text())
def test_whatever_a_client_calls_itself_is_one_short_printable_line(
    tmp_path_factory: pytest.TempPathFactory, client: str
) -> None:
    sight = note(tmp_path_factory.mktemp("seen") / "seen.json", client=client)
    assert sight
    assert len(sight.client) <= 60
    assert sight.client.isascii()
    assert not sight.client or sight.client.isprintable()


GOOD = {"address": "172.18.0.77", "client": SUGAR, "when": "2026-11-23T10:00:00Z"}


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{", b"\xff", b"5", b"null", b"[]", b'{"SHC11111111": 5}', b'{"SHC11111111": "x"}', b'{"SHC11111111": {}}',
     json.dumps({JIM: {**GOOD, "when": 5}}).encode(), json.dumps({JIM: {**GOOD, "client": None}}).encode()],
)  # fmt: skip
def test_a_damaged_file_stops_nobody_and_is_written_anew(file: Path, damaged: bytes) -> None:
    file.write_bytes(damaged)
    seen.read(file)
    assert note(file, "172.18.0.99", now=NOW + HOUR) == Sight("172.18.0.99", SUGAR, "2026-11-23T11:00:00Z")


def test_where_it_cannot_be_written_the_caller_hears_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        note(tmp_path / "gone" / "seen.json")
