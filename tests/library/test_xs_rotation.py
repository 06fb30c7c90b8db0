# SPDX-License-Identifier: GPL-3.0-or-later
"""xs_rotation plans as the service does; what it removes is seen on a running host (molecule/default)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import xs_rotation
from running import run
from schoolserver import allowance, rotation, settings
from schoolserver.alone import alone
from schoolserver.house import House

TREE = "SHC12345678"
OLD = ("2026-05-02T100000Z", "2026-05-03T100000Z", "2026-05-04T100000Z")
YOUNG = ("2026-11-20T100000Z", "2026-11-23T100000Z")
SECOND_OF_MONTH = [{"tree": TREE, "stamp": stamp, "why": "not the first of its month"} for stamp in OLD[1:]]


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """One tree with three old snapshots and two young ones."""
    where = House(tmp_path / "users", tmp_path / "state")
    where.state.mkdir()
    for stamp in (*OLD, *YOUNG):
        (where.users / TREE / "datastore" / stamp).mkdir(parents=True)
    (where.users / TREE / ".state").mkdir()
    monkeypatch.setattr(xs_rotation, "House", lambda: where)
    monkeypatch.setattr(settings, "load", lambda part: settings.PARTS[part]())
    monkeypatch.setattr(allowance, "used_percent", lambda _: 10.0)
    return where


def there(where: House) -> list[str]:
    return sorted(path.name for path in (where.users / TREE / "datastore").iterdir())


def test_check_mode_returns_the_plan_and_removes_nothing(where: House, capsys: pytest.CaptureFixture[str]) -> None:
    plan = run(xs_rotation, capsys, {}, check=True)
    assert plan["changed"]
    assert plan["removed"] == SECOND_OF_MONTH
    assert plan["kept"] == 3
    assert OLD[1] in plan["diff"]["before"]
    assert OLD[1] not in plan["diff"]["after"]
    assert there(where) == [*OLD, *YOUNG]
    assert list(where.state.iterdir()) == []


def test_what_check_mode_said_is_done(where: House, capsys: pytest.CaptureFixture[str]) -> None:
    plan = run(xs_rotation, capsys, {}, check=True)
    done = run(xs_rotation, capsys, {})
    assert done == plan | {"invocation": done["invocation"]}
    assert there(where) == [OLD[0], *YOUNG]
    assert not run(xs_rotation, capsys, {})["changed"]


def test_each_part_of_the_policy_can_be_given(where: House, capsys: pytest.CaptureFixture[str]) -> None:
    def removed(**days: int) -> list[str]:
        answer = run(xs_rotation, capsys, days, check=True)
        return [one["stamp"] for one in answer["removed"]]

    assert removed(keep_all_days=365) == []
    assert removed(keep_weekly_days=365) == [OLD[1]]  # the fourth of May 2026 is a Monday
    assert removed(keep_monthly_days=130) == [*OLD[:2]]  # the third's turn comes tomorrow
    assert removed(keep_all_days=1, keep_weekly_days=1, keep_monthly_days=0) == [*OLD[1:]]


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({"keep_all_days": 0}, "keep_all_days: 0 is too few; give 1 or more"),
        ({"keep_weekly_days": -1}, "keep_weekly_days: -1 is too few; give 1 or more"),
        ({"keep_monthly_days": -1}, "keep_monthly_days: -1 is too few; give 0 or more"),
    ],
)
def test_a_policy_that_keeps_nothing_is_refused(
    where: House, capsys: pytest.CaptureFixture[str], given: dict[str, int], answer: str
) -> None:
    refused = run(xs_rotation, capsys, given)
    assert (refused["failed"], refused["msg"]) == (True, answer)
    assert there(where) == [*OLD, *YOUNG]


def test_on_a_bare_host_there_is_nothing_to_remove(
    where: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(where.users)
    for installed in (True, False):
        monkeypatch.setattr(xs_rotation, "INSTALLED", installed)
        assert not run(xs_rotation, capsys, {}, check=True)["changed"]
        assert "run playbooks/site.yml first" in run(xs_rotation, capsys, {})["msg"]


def test_a_tree_that_cannot_be_rotated_stops_no_other_and_is_named(
    where: House, capsys: pytest.CaptureFixture[str]
) -> None:
    (where.users / "AAA00000000" / "datastore").mkdir(parents=True)
    (where.users / "AAA00000000" / "pins.json").write_text("{")
    for check in (True, False):
        answer = run(xs_rotation, capsys, {}, check=check)
        assert answer["failed"]
        assert answer["msg"].startswith("not rotated: AAA00000000: ")
        assert answer["removed"] == SECOND_OF_MONTH


def test_of_each_tree_two_days_end_in_a_day_and_check_mode_says_so(
    where: House, capsys: pytest.CaptureFixture[str]
) -> None:
    (where.users / TREE / "datastore" / "2026-05-05T100000Z").mkdir()
    assert run(xs_rotation, capsys, {}, check=True)["removed"] == SECOND_OF_MONTH
    assert run(xs_rotation, capsys, {})["removed"] == SECOND_OF_MONTH
    assert run(xs_rotation, capsys, {}, check=True)["removed"] == []


def test_on_a_full_disk_more_goes(
    where: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in ("01", "02", "09"):
        (where.users / TREE / "datastore" / f"2026-11-{day}T100000Z").mkdir()
    monkeypatch.setattr(allowance, "used_percent", lambda _: 95.0)
    removed = [one["stamp"][5:10] for one in run(xs_rotation, capsys, {})["removed"]]
    assert removed == ["05-03", "05-04", "11-02", "11-09"]
    assert there(where) == [OLD[0], "2026-11-01T100000Z", *YOUNG]


def test_while_another_rotation_is_under_way_it_says_so(where: House, capsys: pytest.CaptureFixture[str]) -> None:
    with alone(where.state / rotation.LOCK, "held by the test"):
        assert "another rotation is under way" in run(xs_rotation, capsys, {})["msg"]
        assert run(xs_rotation, capsys, {}, check=True)["removed"] == SECOND_OF_MONTH
