# SPDX-License-Identifier: GPL-3.0-or-later
"""A night of rotation on real file systems: what was planned goes, and nothing else, whatever comes in between."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import school
from laptops import ANN, JIM, dsa, message
from schoolserver import (
    acts,
    allowance,
    catalog,
    cli,
    cli_rotate,
    datastore,
    engines,
    pins,
    registrar,
    rotation,
    rotation_record,
    rotation_trees,
    settings,
    snapshot,
)
from schoolserver.audit import Who
from schoolserver.engines import DATASTORE, DOCUMENTS
from schoolserver.engines.links import Links
from schoolserver.engines.subvolumes import Subvolumes
from schoolserver.errors import Refusal
from schoolserver.house import House
from schoolserver.rotation_plan import Policy, Space, Verdict
from schoolserver.rotation_trees import TreePlan
from standing import make_house

START = datetime(2020, 1, 6, 10, 15, tzinfo=UTC)  # before any snapshot here is really named, as on a true clock
DAY = timedelta(days=1)
NOW = START + 4 * DAY
SHORT = Policy(1, 1, 1)  # only what is a day old at most
MARIA = Who("maria", "console")


@pytest.fixture
def here(any_library: Path) -> House:
    """Jim's tree with snapshots of four days, on each kind of file system."""
    here = make_house(any_library)
    registrar.register(message(JIM, dsa(0)), here)
    take(here, JIM, range(4))
    return here


@pytest.fixture
def on_btrfs(library: Path) -> House:
    """The same on btrfs alone, where the file system does not matter."""
    here = make_house(library)
    registrar.register(message(JIM, dsa(0)), here)
    take(here, JIM, range(4))
    return here


def take(here: House, tree: str, days: range) -> None:
    for day in days:
        school.end_run(here.users / tree)
        assert snapshot.take(here.users / tree, START + day * DAY, here.state / "catalog.db")


def there(here: House, tree: str = JIM) -> list[str]:
    return datastore.snapshots(here.users / tree)


def rotate(here: House, now: datetime = NOW, policy: Policy = SHORT, used: float = 0, **how: bool) -> list[str]:
    """Rotate; return the names that went, of all trees."""
    outcomes = list(rotation.rotate(here, policy, Space(used), now, **how))
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    return [name for outcome in outcomes for name in outcome.removed]


def plan_of(here: House, tree: str = JIM) -> TreePlan:
    return rotation_trees.plan_tree(here.users / tree, SHORT, NOW)


@contextmanager
def session(tree: Path) -> Iterator[None]:
    lock = os.open(tree / ".state" / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


def test_what_a_dry_run_promises_is_done_and_then_nothing_is_left_to_do(here: House) -> None:
    before = there(here)
    state = sorted(here.state.iterdir())
    assert rotate(here, dry_run=True) == before[:2]
    assert there(here) == before
    assert sorted(here.state.iterdir()) == state
    assert rotate(here) == before[:2]
    assert sorted(os.listdir(here.users / JIM / "datastore")) == before[2:]
    assert rotate(here, NOW + DAY) == []


def test_the_default_policy_keeps_a_week_s_and_a_month_s_first(on_btrfs: House) -> None:
    take(on_btrfs, JIM, range(4, 300, 2))
    now = START + 300 * DAY
    while rotate(on_btrfs, now, Policy()):
        now += DAY
    days = [
        (datetime.strptime(stamp, "%Y-%m-%dT%H%M%SZ").replace(tzinfo=UTC) - START).days for stamp in there(on_btrfs)
    ]
    newest = days[-1]
    assert [day for day in days if newest - day <= 30] == list(range(newest - 30, newest + 1, 2))
    assert len([day for day in days if 30 < newest - day <= 120]) in range(13, 17)
    assert len([day for day in days if newest - day > 120]) == 6  # January to June


def test_the_history_of_plain_documents_goes_the_same_way(on_btrfs: House) -> None:
    tree = on_btrfs.users / JIM
    for day in range(4):
        (tree / ".state" / DOCUMENTS.mark).touch()
        snapshot.take(tree, START + day * DAY, on_btrfs.state / "catalog.db")
    before = datastore.snapshots(tree, DOCUMENTS.snapshots)
    assert rotate(on_btrfs)[2:] == [f"documents-history/{stamp}" for stamp in before[:2]]
    assert datastore.snapshots(tree, DOCUMENTS.snapshots) == before[2:]
    assert rotate(on_btrfs, NOW + timedelta(hours=1)) == []


# What comes in between.


def test_a_pin_made_after_the_plan_still_holds(here: House) -> None:
    plan, (first, second, *_) = plan_of(here), there(here)
    pins.write(here.users / JIM, {first: pins.Pin(frozenset({"person"}), 0, first)})
    assert list(rotation.apply(plan, here.state / "catalog.db")) == [second]
    assert first in there(here)


def test_a_pin_made_while_the_catalog_forgets_still_holds(on_btrfs: House, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, (first, second, *_) = plan_of(on_btrfs), there(on_btrfs)

    def pin(*_: object) -> None:
        pins.write(on_btrfs.users / JIM, {first: pins.Pin(frozenset({"person"}), 0, first)})

    monkeypatch.setattr(catalog, "forget", pin)
    assert list(rotation.apply(plan, on_btrfs.state / "catalog.db")) == [second]


def test_no_plan_removes_the_newest(here: House) -> None:
    newest = there(here)[-1]
    plan = TreePlan(here.users / JIM, {DATASTORE: [Verdict(newest, False, "a mistake")]})
    assert list(rotation.apply(plan, here.state / "catalog.db")) == []
    assert there(here)[-1] == newest


def test_a_snapshot_is_out_of_sight_before_it_is_removed(here: House, monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = there(here), list[list[str]]()
    engine = type(engines.of(here.users))
    remove = engine.remove

    def look(self: engines.Engine, path: Path) -> None:
        seen.append(there(here))
        remove(self, path)

    monkeypatch.setattr(engine, "remove", look)
    rotate(here)
    assert seen == [before[1:], before[2:]]


def test_an_interrupted_rotation_goes_on_the_same_day(here: House, monkeypatch: pytest.MonkeyPatch) -> None:
    before = there(here)
    for engine in (Subvolumes, Links):
        monkeypatch.setattr(engine, "remove", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rotate(here)
    monkeypatch.undo()
    assert there(here) == before[1:]
    assert rotate(here) == before[1:2]
    assert sorted(os.listdir(here.users / JIM / "datastore")) == before[2:]


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_while_a_session_is_under_way_nothing_goes_and_nothing_is_wrong(on_btrfs: House) -> None:
    before = there(on_btrfs)
    with session(on_btrfs.users / JIM):
        (outcome,) = rotation.rotate(on_btrfs, SHORT, Space(), NOW)
    assert (outcome.removed, outcome.failed) == ([], "")
    assert str(outcome.error) == "a session is under way: its turn comes with the next rotation"
    assert there(on_btrfs) == before
    assert rotate(on_btrfs) == before[:2]


def test_whose_session_ends_meanwhile_is_rotated_at_the_end(on_btrfs: House) -> None:
    registrar.register(message(ANN, dsa(1)), on_btrfs)
    take(on_btrfs, ANN, range(4))
    first, other = sorted((ANN, JIM))
    with session(on_btrfs.users / first):
        outcomes = rotation.rotate(on_btrfs, SHORT, Space(), NOW)
        assert next(outcomes).tree == other
    (last,) = outcomes
    assert (last.tree, len(last.removed)) == (first, 2)


def test_a_laptop_that_is_never_out_of_a_session_is_rotated_when_patience_is_over(
    on_btrfs: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    before = there(on_btrfs)
    with session(on_btrfs.users / JIM):
        (outcome,) = rotation.rotate(on_btrfs, SHORT, Space(), NOW, patience=20)
    assert outcome.removed == before[:2]
    assert slept[:4] == [5, 5, 5, 5]


def test_only_one_rotation_is_under_way(on_btrfs: House) -> None:
    running = rotation.rotate(on_btrfs, SHORT, Space(), NOW)
    next(running)
    with pytest.raises(Refusal, match="another rotation is under way"):
        rotate(on_btrfs)
    del running
    rotate(on_btrfs)


# What is wrong with one tree.


def test_a_tree_that_cannot_be_rotated_stops_no_other_and_what_went_is_told(
    on_btrfs: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, damage in (("AAA00000000", "{"), ("BBB00000000", "[" * 100_000)):
        school.make_tree(on_btrfs.users, name)
        (on_btrfs.users / name / pins.FILE).write_text(damage)
    remove, before = Subvolumes.remove, there(on_btrfs)

    def fail_after(self: Subvolumes, path: Path) -> None:
        remove(self, path)
        raise OSError("a bad sector")

    monkeypatch.setattr(Subvolumes, "remove", fail_after)
    outcomes = list(rotation.rotate(on_btrfs, SHORT, Space(), NOW))
    assert [(outcome.tree, outcome.removed, type(outcome.error)) for outcome in outcomes] == [
        ("AAA00000000", [], Refusal),
        ("BBB00000000", [], RecursionError),
        (JIM, before[:1], OSError),
    ]
    last = rotation_record.read(on_btrfs.state / rotation_record.FILE).last
    assert last is not None
    assert (last.removed, sorted(last.failed), last.failed[JIM]) == (
        1,
        ["AAA00000000", "BBB00000000", JIM],
        "a bad sector",
    )
    assert "RecursionError" in capsys.readouterr().err


def test_with_damaged_pins_nothing_is_removed(on_btrfs: House) -> None:
    before = there(on_btrfs)
    (on_btrfs.users / JIM / pins.FILE).write_text("{")
    (outcome,) = rotation.rotate(on_btrfs, SHORT, Space(), NOW)
    assert "damaged" in outcome.failed
    assert there(on_btrfs) == before


# Time.


def test_a_snapshot_from_a_leaping_clock_takes_two_others_a_day_along_and_no_more(on_btrfs: House) -> None:
    school.end_run(on_btrfs.users / JIM)
    snapshot.take(on_btrfs.users / JIM, START + 1000 * DAY, on_btrfs.state / "catalog.db")
    before, now = there(on_btrfs), START + 1000 * DAY
    assert rotate(on_btrfs, now) == before[:2]
    assert rotate(on_btrfs, now + timedelta(hours=23)) == []
    assert rotate(on_btrfs, now - timedelta(hours=1)) == []
    assert rotate(on_btrfs, now + timedelta(hours=25)) == before[2:4]
    assert there(on_btrfs) == before[4:]


def test_after_a_leap_of_the_clock_nothing_goes_and_everybody_is_told_why(
    on_btrfs: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "_network_time", lambda: False)
    rotate(on_btrfs, NOW, Policy())
    before, later = there(on_btrfs), NOW + 2000 * DAY
    for dry_run in (True, False, True):
        with pytest.raises(Refusal, match="the clock leapt ahead to 2025-07-02 10:15 UTC: nothing"):
            rotate(on_btrfs, later, dry_run=dry_run)
    assert there(on_btrfs) == before
    last = rotation_record.read(on_btrfs.state / rotation_record.FILE).last
    assert last is not None
    assert last.stopped.startswith("the clock leapt ahead")
    up = rotation.uptime()
    monkeypatch.setattr(rotation, "uptime", lambda: up + 7 * 86_400 + 60)
    assert rotate(on_btrfs, later + 7 * DAY) == before[:2]


def test_where_the_network_has_the_time_a_leap_is_none(on_btrfs: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "_network_time", lambda: True)
    rotate(on_btrfs, NOW, Policy())
    assert len(rotate(on_btrfs, NOW + 2000 * DAY)) == 2


@pytest.mark.parametrize(("says", "synchronized"), [("yes", True), ("no", False), ("", False)])
def test_the_kernel_is_asked_whether_it_follows_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, synchronized: bool
) -> None:
    program = tmp_path / "timedatectl"
    program.write_text(f"#!/bin/sh\n[ $2 = --property=NTPSynchronized ] && echo '{says}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert rotation._network_time() is synchronized
    program.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert rotation._network_time() is False


def test_what_is_named_before_its_time_never_goes(here: House) -> None:
    tree = here.users / JIM
    for day in range(4):  # in truth they are named now
        school.end_run(tree)
        snapshot.take(tree, START + (20_000 + day) * DAY, here.state / "catalog.db")
    before = there(here)
    assert rotate(here, START + 30_000 * DAY) == before[:2]  # by the newest that can be true
    assert rotate(here, START + 30_001 * DAY) == []


def test_only_where_it_matters_a_snapshot_is_looked_at(on_btrfs: House, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    stat = os.stat

    def look(path: Path, *arguments: object, **named: object) -> os.stat_result:
        looked.append(Path(path).name)
        return stat(path, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", look)
    rotation_trees.plan_tree(on_btrfs.users / JIM, Policy(), NOW)
    assert [name for name in looked if name in there(on_btrfs)] == []
    rotation_trees.plan_tree(on_btrfs.users / JIM, Policy(1, 30), NOW)
    assert sorted(name for name in looked if name in there(on_btrfs)) == [*there(on_btrfs)[:2], there(on_btrfs)[-1]]


@pytest.mark.parametrize("damage", ["", "[]", '{"clock": null, "ended": {"SHC": {"x": "yesterday"}}, "last": null}'])
def test_a_damaged_record_stops_no_rotation(on_btrfs: House, damage: str) -> None:
    (on_btrfs.state / rotation_record.FILE).write_text(damage)
    assert len(rotate(on_btrfs)) == 2


# Space.


def test_on_a_full_disk_all_goes_at_once_that_the_floor_does_not_hold(on_btrfs: House) -> None:
    take(on_btrfs, JIM, range(4, 31))
    now, before = START + 31 * DAY, there(on_btrfs)
    assert rotate(on_btrfs, now, Policy(), 79, dry_run=True) == []
    gone = rotate(on_btrfs, now, Policy(), 95)
    assert there(on_btrfs) == [before[0], *before[-8:]]
    assert len(gone) == 31 - 9
    assert rotate(on_btrfs, now, Policy(), 95) == []


def test_the_heaviest_learner_s_history_gets_shorter_first(on_btrfs: House) -> None:
    registrar.register(message(ANN, dsa(1)), on_btrfs)
    for tree in (ANN, JIM):
        take(on_btrfs, tree, range(4 if tree == JIM else 0, 31))
    weigh(on_btrfs.users / JIM, 9_000)
    weigh(on_btrfs.users / ANN, 1_000)
    outcomes = rotation.rotate(on_btrfs, Policy(), Space(88), START + 31 * DAY, dry_run=True)
    assert {outcome.tree: bool(outcome.removed) for outcome in outcomes} == {JIM: True, ANN: False}
    assert rotation_trees.thinned(on_btrfs.users, [JIM, ANN], 0.8) == {JIM: 0.8, ANN: 0.0}
    assert rotation_trees.thinned(on_btrfs.users, [JIM, ANN], 1.0) == {JIM: 1.0, ANN: 1.0}


def test_a_learner_with_two_laptops_is_weighed_once(on_btrfs: House) -> None:
    for serial, key in ((ANN, 1), ("SHC00000099", 2)):
        registrar.register(message(serial, dsa(key)), on_btrfs)
    acts.approve(on_btrfs, "SHC00000099", JIM, MARIA)
    for tree, weight in ((JIM, 500), ("SHC00000099", 600), (ANN, 400)):
        weigh(on_btrfs.users / tree, weight)
    share = rotation_trees.thinned(on_btrfs.users, [JIM, ANN, "SHC00000099"], 0.8)
    assert share == {JIM: 0.8, "SHC00000099": 0.8, ANN: pytest.approx(0.5)}


def weigh(tree: Path, weight: int) -> None:
    (tree / ".state" / "usage").write_text(f"10 {weight}\n")


def test_whatever_a_learner_puts_where_the_gate_counts_it_weighs_a_number(on_btrfs: House, tmp_path: Path) -> None:
    usage = on_btrfs.users / JIM / ".state" / "usage"
    (tmp_path / "other").write_text("10 777\n")
    makers: list[Callable[[], object]] = [
        lambda: usage.symlink_to(tmp_path / "other"), lambda: os.mkfifo(usage), usage.mkdir, lambda: None,
        *(lambda text=text: usage.write_bytes(text) for text in (b"", b"7", b"1 x", b"1 -5", b"\xff \xff", b"9" * 999)),
    ]  # fmt: skip
    for make in makers:
        make()
        assert allowance.bytes_of(on_btrfs.users / JIM) == 0
        if usage.is_dir():
            usage.rmdir()
        usage.unlink(missing_ok=True)
    weigh(on_btrfs.users / JIM, 4711)
    assert allowance.bytes_of(on_btrfs.users / JIM) == 4711


# The timer, and a person.


@pytest.fixture
def stage(on_btrfs: House, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`stage(used)` lets the timer and `xs rotate` run here, on a disk that is `used` percent full."""
    monkeypatch.setattr(rotation, "House", lambda: on_btrfs)
    monkeypatch.setattr(cli_rotate, "House", lambda: on_btrfs)
    given = {"snapshots": settings.Snapshots(1, 1, 1), "accounts": settings.Accounts()}
    monkeypatch.setattr(settings, "load", given.__getitem__)
    monkeypatch.setattr(rotation, "_PATIENCE", 0.0)

    def use(used: float) -> None:
        monkeypatch.setattr(allowance, "used_percent", lambda _: used)

    return use


def xs(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["xs", "rotate", *words])
    return cli.main()


def test_the_timer_tells_what_went_and_how_full_the_disk_is(
    on_btrfs: House, stage: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    stage(85)
    first, second, *_ = there(on_btrfs)
    with pytest.raises(SystemExit) as ended:
        rotation.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines() == [
        "the disk is 85 % full; above 80 % histories get shorter, above 90 % no backup is taken",
        f"{JIM}: removed {first}",
        f"{JIM}: removed {second}",
    ]


def test_the_timer_fails_where_a_tree_could_not_be_done_and_not_for_a_session(
    on_btrfs: House, stage: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    stage(10)
    with session(on_btrfs.users / JIM), pytest.raises(SystemExit) as ended:
        rotation.main()
    assert ended.value.code == 0
    assert f"{JIM}: not rotated: a session is under way" in capsys.readouterr().err
    (on_btrfs.users / JIM / pins.FILE).write_text("{")
    with pytest.raises(SystemExit) as ended:
        rotation.main()
    assert ended.value.code == 1
    assert f"{JIM}: not rotated: " in capsys.readouterr().err


def test_a_dry_run_tells_what_stays_and_what_goes_and_why(
    on_btrfs: House, stage: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage(10)
    policy = (
        "The policy: everything for 1 days, one a week for 1, one a month for 1 days. "
        "A snapshot's age is counted up to the newest of its tree."
    )
    assert xs(monkeypatch, "--dry-run") == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        policy,
        f"{JIM}: 2 stay: 1 not over 1 days old, 1 the newest",
        "  - 2020-01-06T101500Z  3 days old: over 1 days old",
        "  - 2020-01-07T101500Z  2 days old: over 1 days old",
        "2 snapshots would be removed",
    ]
    assert len(there(on_btrfs)) == 4
    stage(85)
    assert xs(monkeypatch, "--all") == 0
    assert capsys.readouterr().out.splitlines() == [
        policy,
        "But the disk is 85 % full; above 80 % histories get shorter, above 90 % no backup is taken.",
        f"{JIM}: 2 stay: 1 not over 1 days old, 1 the newest",
        "  - 2020-01-06T101500Z  3 days old: over 1 days old",
        "  - 2020-01-07T101500Z  2 days old: over 1 days old",
        "    2020-01-08T101500Z  1 days old: not over 1 days old",
        "    2020-01-09T101500Z  0 days old: the newest",
        "2 snapshots removed",
    ]
    assert len(there(on_btrfs)) == 2


def test_the_command_names_the_trees_that_it_could_not_do(
    on_btrfs: House, stage: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage(10)
    school.make_tree(on_btrfs.users, "AAA00000000")
    (on_btrfs.users / "AAA00000000" / pins.FILE).write_text("{")
    assert xs(monkeypatch, "--dry-run") == 1
    said = capsys.readouterr()
    assert "2 snapshots would be removed" in said.out
    assert said.err.startswith("xs: not rotated: AAA00000000: ")
