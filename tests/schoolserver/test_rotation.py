# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import school
from schoolserver import cli, datastore, paths, pins, rotation, snapshot, stamps
from schoolserver.engines.subvolumes import Subvolumes
from schoolserver.errors import Refusal

STAMPS = st.datetimes(min_value=datetime(2006, 1, 1), max_value=datetime(2106, 1, 1)).map(
    lambda when: when.strftime(stamps.FORM)
)
DAYS = st.integers(1, 400)
NOW = datetime(2026, 11, 27, 2, 30, tzinfo=UTC)


def kept(verdicts: list[rotation.Verdict]) -> list[str]:
    return [verdict.stamp for verdict in verdicts if verdict.keep]


@given(st.sets(STAMPS), DAYS, st.data())
def test_the_newest_and_the_pinned_stay_and_the_plan_is_stable(found: set[str], days: int, data: st.DataObject) -> None:
    pinned = data.draw(st.sets(st.sampled_from(sorted(found)))) if found else set()
    stay = kept(rotation.plan(found, pinned, days))
    assert {max(found)} | pinned <= set(stay) if found else stay == []
    assert kept(rotation.plan(stay, pinned, days)) == stay


@given(st.sets(STAMPS, min_size=1), DAYS)
def test_age_alone_decides_and_a_longer_policy_keeps_no_less(found: set[str], days: int) -> None:
    newest = stamps.time_of(max(found))
    wanted = sorted(stamp for stamp in found if newest - stamps.time_of(stamp) <= timedelta(days=days))
    assert kept(rotation.plan(found, (), days)) == wanted
    assert set(wanted) <= set(kept(rotation.plan(found, (), days + 1)))


def test_each_verdict_says_why() -> None:
    found = ["2026-01-01T000000Z", "2026-11-01T000000Z", "2026-11-22T000000Z", "2026-11-23T000000Z"]
    assert [verdict.why for verdict in rotation.plan(found, [found[1]], 7)] == [
        "326 days before the newest, more than 7",
        "pinned",
        "1 days before the newest",
        "the newest",
    ]


@pytest.fixture
def tree(library: Path) -> Path:
    tree = school.make_tree(library / "users")
    for day in range(4):
        school.end_run(tree)
        snapshot.take(tree, school.day(day), tree.parent.parent / "catalog.db")
    return tree


def test_planning_changes_nothing_and_applying_does_what_was_planned(tree: Path) -> None:
    before = datastore.snapshots(tree)
    verdicts = rotation.plan_tree(tree, 1, NOW)
    assert datastore.snapshots(tree) == before
    assert rotation.apply_tree(tree, verdicts, tree.parent.parent / "catalog.db") == before[:2]
    assert datastore.snapshots(tree) == before[2:]
    assert kept(rotation.plan_tree(tree, 1, NOW)) == before[2:]


def test_a_pin_made_after_the_plan_still_holds(tree: Path) -> None:
    verdicts = rotation.plan_tree(tree, 1, NOW)
    first = datastore.snapshots(tree)[0]
    pins.write(tree, {first: pins.Pin(frozenset({"person"}), 0, first)})
    rotation.apply_tree(tree, verdicts, tree.parent.parent / "catalog.db")
    assert first in datastore.snapshots(tree)


def test_no_verdict_removes_the_newest(tree: Path) -> None:
    newest = datastore.snapshots(tree)[-1]
    assert rotation.apply_tree(tree, [rotation.Verdict(newest, False, "a mistake")], tree / "catalog.db") == []
    assert datastore.snapshots(tree)[-1] == newest


def test_with_damaged_pins_nothing_is_removed(tree: Path) -> None:
    (tree / pins.FILE).write_text("{")
    with pytest.raises(Refusal, match="damaged"):
        rotation.plan_tree(tree, 1, NOW)


def test_an_interrupted_rotation_goes_on(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = Subvolumes.remove

    def cut(self: Subvolumes, path: Path) -> None:
        remove(self, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(Subvolumes, "remove", cut)
    with pytest.raises(KeyboardInterrupt):
        rotation.apply_tree(tree, rotation.plan_tree(tree, 1, NOW), tree.parent.parent / "catalog.db")
    monkeypatch.undo()
    rotation.apply_tree(tree, rotation.plan_tree(tree, 1, NOW), tree.parent.parent / "catalog.db")
    assert len(datastore.snapshots(tree)) == 2


def test_only_trees_are_rotated(tree: Path) -> None:
    (tree.parent / "lost+found").mkdir()
    (tree.parent / "link").symlink_to(tree)
    assert rotation.trees_in(tree.parent) == [tree]
    assert rotation.trees_in(tree.parent / "nothing yet") == []


@given(st.sets(STAMPS), DAYS, st.integers(0, 5))
def test_no_more_go_than_may_and_the_oldest_of_them_first(found: set[str], days: int, most: int) -> None:
    verdicts = rotation.plan(found, (), days)
    wanted = [verdict.stamp for verdict in verdicts if not verdict.keep]
    assert [verdict.stamp for verdict in rotation.spread(verdicts, most) if not verdict.keep] == wanted[:most]


def rotate(tree: Path, now: datetime, *, dry_run: bool = False) -> list[str]:
    promised = rotation.rotate_tree(tree, 1, now, dry_run=True)
    if dry_run:
        return promised
    assert rotation.rotate_tree(tree, 1, now, catalog_file=tree.parent.parent / "catalog.db") == promised
    return promised


def test_a_snapshot_from_a_leaping_clock_takes_two_others_a_day_along_and_no_more(tree: Path) -> None:
    school.end_run(tree)
    snapshot.take(tree, datetime(2066, 1, 1, tzinfo=UTC), tree.parent.parent / "catalog.db")
    before = datastore.snapshots(tree)
    assert rotate(tree, NOW) == before[:2]
    assert rotate(tree, NOW + timedelta(hours=23)) == []
    assert rotate(tree, NOW - timedelta(hours=1)) == []
    assert rotate(tree, NOW + timedelta(hours=25)) == before[2:4]
    assert datastore.snapshots(tree) == before[4:]


def test_a_damaged_record_stops_no_rotation(tree: Path) -> None:
    for damage in ("", "[]", '{"2026-11-23T101500Z": "yesterday"}', '{"2026-11-23T101500Z": 7}'):
        (tree / rotation.RECORD).write_text(damage)
        assert len(rotate(tree, NOW, dry_run=True)) == 2
    assert len(rotate(tree, NOW)) == 2


def test_what_an_interrupted_rotation_did_not_remove_goes_the_same_day(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = Subvolumes.remove

    def cut(self: Subvolumes, path: Path) -> None:
        remove(self, path)
        raise KeyboardInterrupt

    before = datastore.snapshots(tree)
    monkeypatch.setattr(Subvolumes, "remove", cut)
    with pytest.raises(KeyboardInterrupt):
        rotate(tree, NOW)
    monkeypatch.undo()
    assert rotate(tree, NOW) == before[1:2]


def test_a_tree_that_cannot_be_rotated_stops_no_other_and_what_went_is_told(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, damage in (("AAA00000000", "{"), ("BBB00000000", "[" * 100_000)):
        bad = school.make_tree(tree.parent, name)
        (bad / pins.FILE).write_text(damage)
    remove, before = Subvolumes.remove, datastore.snapshots(tree)

    def fail_after(self: Subvolumes, path: Path) -> None:
        remove(self, path)
        raise OSError("a bad sector")

    monkeypatch.setattr(Subvolumes, "remove", fail_after)
    rotated = list(rotation.rotate_all(tree.parent, 1, NOW, catalog_file=tree.parent.parent / "catalog.db"))
    assert [(found.name, stamps, type(error)) for found, stamps, error in rotated] == [
        ("AAA00000000", [], Refusal),
        ("BBB00000000", [], RecursionError),
        (tree.name, before[:1], OSError),
    ]


def test_the_command_goes_over_all_trees_and_names_those_it_could_not_do(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = school.make_tree(tree.parent, "AAA00000000")
    (bad / pins.FILE).write_text("{")
    (tree / pins.FILE).write_text(json.dumps({}))
    oldest = datastore.snapshots(tree)[0]
    school.end_run(tree)
    snapshot.take(tree, school.day(100), tree.parent.parent / "catalog.db")
    monkeypatch.setattr(paths, "USERS", tree.parent)
    monkeypatch.setattr(sys, "argv", ["xs", "rotate", "--dry-run"])
    assert cli.main() == 1
    said = capsys.readouterr()
    assert f"{tree.name}  {oldest}\n" in said.out
    assert said.err.startswith("xs: not rotated: AAA00000000: ")
