# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a backup does not start now, and when today's is done."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xo_client import conditions, laptop, words
from xo_client.conditions import Facts, Power

MAINS, BATTERY = Power(True, 10), Power(False, 80)
NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts(True, MAINS, False), ""),
        (Facts(True, BATTERY, False), ""),
        (Facts(True, Power(False, 29), False), "battery"),
        (Facts(True, Power(True, 5), False), ""),
        (Facts(True, Power(False, None), False), ""),  # a PC without a battery
        (Facts(True, MAINS, True), "metered"),
        (Facts(False, MAINS, False), "profile"),
    ],
)
def test_why_not(facts: Facts, reason: str) -> None:
    assert conditions.why_not(facts) == reason
    assert not reason or words.SENTENCES[reason]


def test_done_is_done_by_the_servers_day_and_no_clock_of_the_laptop() -> None:
    last = conditions.mark(NOON)
    assert conditions.is_done(last, NOON.replace(hour=23), flag=True)
    assert not conditions.is_done(last, NOON.replace(day=27, hour=0), flag=True)
    assert not conditions.is_done({}, NOON, flag=True)


def test_whoever_removes_the_flag_asks_for_a_backup() -> None:
    assert not conditions.is_done(conditions.mark(NOON), NOON, flag=False)


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text() | st.lists(st.text() | st.integers())))
def test_a_record_that_is_damaged_stops_nothing(record: dict[str, Any]) -> None:
    conditions.is_done(record, NOON, flag=True)
    assert conditions.is_patient(conditions.offers(record, "2026-11-26")) in (True, False)


def test_an_offer_waits_three_school_days_for_an_answer() -> None:
    record: dict[str, Any] = {}
    patient = []
    for day in ("2026-11-23", "2026-11-23", "2026-11-24", "2026-11-30", "2026-12-01"):
        record = conditions.offers(record, day)
        patient.append(conditions.is_patient(record))
    assert patient == [True, True, True, True, False]


@pytest.fixture
def supplies(tmp_path: Path) -> Path:
    return tmp_path


def supply(supplies: Path, name: str, **fields: str) -> None:
    (supplies / name).mkdir()
    for field, value in fields.items():
        (supplies / name / field).write_text(value + "\n")


def test_the_battery_of_a_mouse_does_not_count(supplies: Path) -> None:
    supply(supplies, "hid", type="Battery", scope="Device", capacity="3")
    assert laptop.power(supplies) == Power(True, None)


def test_a_laptop_on_its_battery(supplies: Path) -> None:
    supply(supplies, "AC", type="Mains", online="0")
    supply(supplies, "BAT0", type="Battery", capacity="28", status="Discharging")
    assert laptop.power(supplies) == Power(False, 28)


def test_an_xo_whose_mains_are_silent_is_charging(supplies: Path) -> None:
    supply(supplies, "olpc-battery", type="Battery", capacity="12", status="Charging")
    assert laptop.power(supplies) == Power(True, 12)


@pytest.mark.parametrize(
    ("said", "costs"), [("u 1", True), ("u 3", True), ("u 2", False), ("u 4", False), ("u 0", False)]
)
def test_what_networkmanager_says_of_the_networks_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, costs: bool
) -> None:
    busctl = tmp_path / "busctl"
    busctl.write_text(f"#!/bin/sh\n[ $3 = org.freedesktop.NetworkManager ] && echo {said}\n")
    busctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert laptop.metered() is costs


def test_without_networkmanager_no_network_costs_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert not laptop.metered()
