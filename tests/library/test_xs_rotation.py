# SPDX-License-Identifier: GPL-3.0-or-later
"""xs_rotation plans as the service does; what it removes is seen on a running host (molecule/default)."""

from __future__ import annotations

from pathlib import Path

import pytest

import xs_rotation
from running import run
from schoolserver import paths


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One tree with three snapshots, the oldest of them 100 days older than the newest."""
    for stamp in ("2026-08-15T100000Z", "2026-11-20T100000Z", "2026-11-23T100000Z"):
        (tmp_path / "SHC12345678" / "datastore" / stamp).mkdir(parents=True)
    monkeypatch.setattr(paths, "USERS", tmp_path)
    return tmp_path


def test_check_mode_returns_the_plan_and_removes_nothing(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = run(xs_rotation, capsys, {"keep_days": 90}, check=True)
    assert plan["changed"]
    assert plan["removed"] == [{"tree": "SHC12345678", "stamp": "2026-08-15T100000Z"}]
    assert plan["kept"] == 2
    assert "2026-08-15" in plan["diff"]["before"]
    assert "2026-08-15" not in plan["diff"]["after"]
    assert len(list((users / "SHC12345678" / "datastore").iterdir())) == 3


def test_where_nothing_is_old_enough_nothing_changes(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not run(xs_rotation, capsys, {"keep_days": 365})["changed"]


@pytest.mark.parametrize("days", [0, -1])
def test_a_policy_that_keeps_nothing_is_refused(users: Path, capsys: pytest.CaptureFixture[str], days: int) -> None:
    answer = run(xs_rotation, capsys, {"keep_days": days})
    assert answer["failed"]
    assert "give 1 or more" in answer["msg"]


def test_on_a_bare_host_there_is_nothing_to_remove(
    users: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xs_rotation, "INSTALLED", False)
    assert not run(xs_rotation, capsys, {}, check=True)["changed"]
    assert "run playbooks/site.yml first" in run(xs_rotation, capsys, {})["msg"]


def test_a_tree_that_cannot_be_rotated_stops_no_other_and_is_named(
    users: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (users / "AAA00000000" / "datastore").mkdir(parents=True)
    (users / "AAA00000000" / "pins.json").write_text("{")
    answer = run(xs_rotation, capsys, {"keep_days": 90}, check=True)
    assert answer["failed"]
    assert answer["msg"].startswith("not rotated: AAA00000000: ")
    assert answer["removed"] == [{"tree": "SHC12345678", "stamp": "2026-08-15T100000Z"}]


def test_two_of_a_tree_go_in_a_day_and_check_mode_says_so(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stamp in ("2026-08-01T100000Z", "2026-08-02T100000Z"):
        (users / "SHC12345678" / "datastore" / stamp).mkdir()
    plan = run(xs_rotation, capsys, {"keep_days": 90}, check=True)
    assert [removed["stamp"] for removed in plan["removed"]] == ["2026-08-01T100000Z", "2026-08-02T100000Z"]
