# SPDX-License-Identifier: GPL-3.0-or-later
"""xs_rotation_info tells what rotation itself goes by, and what it wrote down."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

import xs_rotation_info
from running import run
from schoolserver import allowance, rotation, settings
from schoolserver.house import House
from schoolserver.rotation_plan import Policy, Space


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A school server without a tree, whose disk is nearly empty."""
    where = House(tmp_path / "users", tmp_path / "state")
    where.users.mkdir()
    where.state.mkdir()
    monkeypatch.setattr(xs_rotation_info, "House", lambda: where)
    monkeypatch.setattr(settings, "load", lambda part: settings.PARTS[part]())
    monkeypatch.setattr(allowance, "used_percent", lambda _: 10.0)
    return where


def test_it_tells_policy_room_and_how_the_last_rotation_went(where: House, capsys: pytest.CaptureFixture[str]) -> None:
    before = run(xs_rotation_info, capsys, {})
    assert before["policy"] == {"all_days": 30, "weekly_days": 120, "monthly_days": 0}
    assert before["space"] == {"used": 10.0, "thin": 80, "full": 90}
    assert (before["last"], before["changed"]) == ({}, False)
    list(rotation.rotate(where, Policy(), Space(), datetime(2026, 11, 23, 2, 15, tzinfo=UTC)))
    after = run(xs_rotation_info, capsys, {}, check=True)
    assert after["last"] == {"ended": "2026-11-23T021500Z", "removed": 0, "stopped": "", "failed": {}}


def test_on_a_bare_host_there_is_nothing_to_tell(
    where: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xs_rotation_info, "INSTALLED", False)
    assert run(xs_rotation_info, capsys, {})["msg"] == "the school server is not set up yet"
