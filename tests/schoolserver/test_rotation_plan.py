# SPDX-License-Identifier: GPL-3.0-or-later
"""What rotation keeps, as properties of a pure function, and as a school that goes through its nights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schoolserver import rotation_clock, rotation_plan, stamps
from schoolserver.rotation_clock import Clock
from schoolserver.rotation_plan import FLOOR_DAYS, Policy, Snapshot, Space, Verdict, plan

NOW = datetime(2026, 11, 27, 2, 30, tzinfo=UTC)
DAY = timedelta(days=1)


def stamp(when: datetime) -> str:
    return when.strftime(stamps.FORM)


def times(least: datetime, most: datetime) -> st.SearchStrategy[datetime]:
    span = int((most - least).total_seconds())
    return st.integers(0, span).map(lambda seconds: least + timedelta(seconds=seconds))


TIMES = times(datetime(1970, 1, 1, tzinfo=UTC), datetime(2106, 1, 1, tzinfo=UTC))
LATELY = times(NOW - 600 * DAY, NOW)
SNAPSHOTS = st.builds(Snapshot, TIMES.map(stamp), st.none() | TIMES)
TRUE = st.builds(Snapshot, LATELY.map(stamp))
ANY = st.lists(st.one_of(TRUE, TRUE, SNAPSHOTS), unique_by=lambda one: one.stamp)
POLICIES = st.builds(Policy, st.integers(1, 60), st.integers(1, 200), st.just(0) | st.integers(1, 900))
PRESSURES = st.floats(0, 1)
PINS = st.data()


def kept(verdicts: Iterable[Verdict]) -> list[str]:
    return [verdict.stamp for verdict in verdicts if verdict.keep]


def some(data: st.DataObject, snapshots: Collection[Snapshot]) -> set[str]:
    return data.draw(st.sets(st.sampled_from(sorted(one.stamp for one in snapshots)))) if snapshots else set()


@given(ANY, POLICIES, PRESSURES, PINS)
def test_the_newest_the_pinned_and_the_untrue_stay_and_the_plan_is_stable(
    snapshots: list[Snapshot], policy: Policy, pressure: float, data: st.DataObject
) -> None:
    pinned, policy = some(data, snapshots), rotation_plan.tightened(policy, pressure)
    verdicts = plan(snapshots, pinned, policy, NOW)
    stay = set(kept(verdicts))
    assert [verdict.stamp for verdict in verdicts] == sorted(one.stamp for one in snapshots)
    assert stay >= pinned | {one.stamp for one in snapshots if not rotation_plan.taken(one, NOW)}
    assert not snapshots or max(one.stamp for one in snapshots) in stay
    again = plan([one for one in snapshots if one.stamp in stay], pinned, policy, NOW)
    assert again == [verdict for verdict in verdicts if verdict.keep]


@given(ANY, POLICIES, PINS, st.integers(0, 3))
def test_day_by_day_it_comes_to_an_end_that_keeps_all_that_the_plan_keeps(
    snapshots: list[Snapshot], policy: Policy, data: st.DataObject, days: int
) -> None:
    pinned = some(data, snapshots)
    wanted = set(kept(plan(snapshots, pinned, policy, NOW)))
    for _ in range(1000):
        verdicts = plan(snapshots, pinned, policy, NOW)
        if not days or all(verdict.keep for verdict in verdicts):
            break
        stay = set(kept(rotation_plan.spread(verdicts, days)))
        assert len(stay) < len(verdicts), "nothing goes though something should"
        snapshots = [one for one in snapshots if one.stamp in stay]
    assert wanted <= {one.stamp for one in snapshots}
    assert days == 0 or all(verdict.keep for verdict in plan(snapshots, pinned, policy, NOW))


@given(ANY, POLICIES, st.tuples(st.integers(0, 90), st.integers(0, 90), st.integers(0, 900)))
def test_a_longer_policy_keeps_whatever_a_shorter_one_keeps(
    snapshots: list[Snapshot], policy: Policy, more: tuple[int, int, int]
) -> None:
    monthly = policy.monthly_days and policy.monthly_days + more[2]
    longer = Policy(policy.all_days + more[0], policy.weekly_days + more[1], monthly)
    shorter = set(kept(plan(snapshots, (), policy, NOW)))
    assert shorter <= set(kept(plan(snapshots, (), longer, NOW)))
    assert shorter <= set(kept(plan(snapshots, (), Policy(policy.all_days, policy.weekly_days), NOW)))


@given(ANY, POLICIES, st.tuples(PRESSURES, PRESSURES))
def test_more_space_never_means_fewer_kept(
    snapshots: list[Snapshot], policy: Policy, pressures: tuple[float, float]
) -> None:
    roomy, tight = (rotation_plan.tightened(policy, pressure) for pressure in sorted(pressures))
    assert set(kept(plan(snapshots, (), tight, NOW))) <= set(kept(plan(snapshots, (), roomy, NOW)))


@given(st.lists(TRUE, unique_by=lambda one: one.stamp, min_size=1))
def test_on_a_full_disk_the_last_week_and_one_a_month_stay(snapshots: list[Snapshot]) -> None:
    stay = set(kept(plan(snapshots, (), rotation_plan.tightened(Policy(), 1.0), NOW)))
    found = sorted(one.stamp for one in snapshots)
    newest = stamps.time_of(found[-1])
    young = {one for one in found if (newest - stamps.time_of(one)).days <= FLOOR_DAYS}
    first = {min(other for other in found if other[:7] == one[:7]) for one in found}
    assert stay == young | first


@given(st.lists(TRUE, unique_by=lambda one: one.stamp, min_size=1), st.sets(times(NOW, NOW + 300 * DAY), min_size=1))
def test_how_often_a_laptop_backs_up_later_changes_nothing(snapshots: list[Snapshot], later: set[datetime]) -> None:
    before = [one for one in snapshots if one.stamp < stamp(NOW)]
    sent = [Snapshot(stamp(when)) for when in sorted(later)]
    once = {one.stamp: one for one in plan([*before, sent[-1]], (), Policy(), NOW + 300 * DAY)}
    often = plan([*before, *sent], (), Policy(), NOW + 300 * DAY)
    assert [one for one in often if one.stamp < sent[0].stamp] == [once[one.stamp] for one in sorted_by_stamp(before)]


def sorted_by_stamp(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    return sorted(snapshots, key=lambda one: one.stamp)


# Space, and who gives first.


@pytest.mark.parametrize(
    ("used", "thin", "full", "pressure"),
    [(0, 80, 90, 0), (80, 80, 90, 0), (85, 80, 90, 0.5), (90, 80, 90, 1), (99, 80, 90, 1), (89, 95, 90, 0),
     (91, 95, 90, 1), (90, 90, 90, 1), (100, 80, 100, 1)],
)  # fmt: skip
def test_the_pressure_grows_from_the_soft_limit_to_the_hard_one(
    used: float, thin: float, full: float, pressure: float
) -> None:
    assert Space(used, thin, full).pressure == pressure


WEIGHTS = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 1 << 62), min_size=1)


@given(WEIGHTS, PRESSURES, PRESSURES)
def test_the_heaviest_gives_first_and_nobody_gives_more_for_more_room(
    weights: dict[str, int], one: float, other: float
) -> None:
    less, more = (rotation_plan.shares(weights, pressure) for pressure in sorted((one, other)))
    for learner, weight in weights.items():
        assert 0 <= less[learner] <= more[learner] <= 1
        lighter = [more[smaller] for smaller, other_weight in weights.items() if other_weight < weight]
        assert all(share <= more[learner] + 1e-9 for share in lighter)
    assert set(rotation_plan.shares(weights, 0.0).values()) == {0.0}
    assert set(rotation_plan.shares(weights, 1.0).values()) == {1.0}


def test_who_has_half_of_all_is_alone_in_giving_until_the_pressure_is_half() -> None:
    weights = {"ann": 50, "jim": 30, "eve": 20}
    assert rotation_plan.shares(weights, 0.4) == {"ann": 0.4, "jim": 0.0, "eve": 0.0}
    assert rotation_plan.shares(weights, 0.75) == {"ann": 0.75, "jim": 0.5, "eve": 0.0}
    assert rotation_plan.shares({"ann": 0, "jim": 0}, 0.5) == {"ann": 0.5, "jim": 0.5}


@pytest.mark.parametrize(
    ("pressure", "policy"),
    [(0.0, Policy(30, 120, 0)), (0.5, Policy(18, 63, 0)), (1.0, Policy(7, 7, 0))],
)
def test_a_tightened_policy_goes_down_to_the_floor(pressure: float, policy: Policy) -> None:
    assert rotation_plan.tightened(Policy(), pressure) == policy


def test_a_policy_below_the_floor_is_left_alone() -> None:
    assert rotation_plan.tightened(Policy(3, 5, 4), 1.0) == Policy(3, 5, 5)


# Two days a day.


@given(st.lists(TRUE, unique_by=lambda one: one.stamp), POLICIES, st.integers(0, 5))
def test_no_more_days_end_than_may_and_the_oldest_first(snapshots: list[Snapshot], policy: Policy, most: int) -> None:
    verdicts = plan(snapshots, (), policy, NOW)
    spread = rotation_plan.spread(verdicts, most)
    assert rotation_plan.ending(spread) == rotation_plan.ending(verdicts)[:most]
    left = Counter(verdict.day for verdict in spread if verdict.keep)
    assert all(left[verdict.day] == 1 for verdict in spread if verdict.why == rotation_plan.WAITS)


def test_a_laptop_that_backs_up_every_hour_does_not_get_ahead_of_rotation() -> None:
    hours = [Snapshot(stamp(NOW - timedelta(hours=hour))) for hour in range(24 * 60)]
    spread = rotation_plan.spread(plan(hours, (), Policy(30, 30), NOW), 2)
    assert len(kept(spread)) < 24 * 33


# In words.


def test_each_verdict_says_why() -> None:
    snapshots = [
        Snapshot("2003-01-01T000000Z"),
        *(Snapshot(f"2025-01-{day:02}T000000Z") for day in (3, 6)),
        *(Snapshot(f"2026-09-{day:02}T000000Z") for day in (1, 14, 15, 21)),
        *(Snapshot(f"2026-11-{day:02}T000000Z") for day in (1, 26)),
        Snapshot("2066-01-01T000000Z", datetime(2066, 1, 1, tzinfo=UTC)),
        Snapshot("2066-01-01T000001Z", datetime(2026, 11, 27, tzinfo=UTC)),
    ]
    said = {
        (v.stamp[:10], v.keep, v.why, v.age, v.instead) for v in plan(snapshots, ["2026-09-21T000000Z"], Policy(), NOW)
    }
    assert said == {
        ("2003-01-01", True, "its stamp cannot be true", None, ""),
        ("2025-01-03", True, "first of its month", 693, ""),
        ("2025-01-06", False, "not the first of its month", 690, "2025-01-03T000000Z"),
        ("2026-09-01", True, "first of its month", 87, ""),
        ("2026-09-14", True, "first of its week", 74, ""),
        ("2026-09-15", False, "not the first of its week", 73, "2026-09-14T000000Z"),
        ("2026-09-21", True, "pinned", 67, ""),
        ("2026-11-01", True, "not over 30 days old", 26, ""),
        ("2026-11-26", True, "not over 30 days old", 1, ""),
        ("2066-01-01", True, "its stamp cannot be true", None, ""),
        ("2066-01-01", True, "the newest", 0, ""),
    }
    assert plan(snapshots[1:4], (), Policy(30, 120, 365), NOW)[0].why == "over 365 days old"
    assert str(Policy()) == "everything for 30 days, one a week for 120, one a month for ever"
    assert str(Policy(7, 60, 365)) == "everything for 7 days, one a week for 60, one a month for 365 days"
    assert str(Space(85)) == "the disk is 85 % full; above 80 % histories get shorter, above 90 % no backup is taken"


def test_when_a_snapshot_was_named_is_asked_only_where_it_matters() -> None:
    snapshots = [Snapshot(f"2026-09-{day}T000000Z") for day in (14, 15, 21)]
    snapshots += [Snapshot("2026-11-26T000000Z"), Snapshot("2066-01-01T000000Z")]
    asked = rotation_plan.in_question(plan(snapshots, (), Policy(), NOW), NOW)
    assert asked == {"2026-09-14T000000Z", "2026-09-15T000000Z", "2026-11-26T000000Z", "2066-01-01T000000Z"}


# A school that goes through its nights.


@dataclass
class Server:
    """One tree's snapshots and the clocks; every night is rotation's, as rotation.py does it."""

    true: datetime = NOW
    off: timedelta = timedelta(0)  # by how much the clock is wrong
    clock: Clock | None = None
    snapshots: list[Snapshot] = field(default_factory=list)
    taken: dict[str, datetime] = field(default_factory=dict)  # when each was, in truth
    named: dict[str, datetime] = field(default_factory=dict)  # the same, as the clock had it
    removed: dict[str, datetime] = field(default_factory=dict)
    ended: list[datetime] = field(default_factory=list)

    @property
    def says(self) -> datetime:
        return self.true + self.off

    def runs(self, times: int = 1) -> None:
        for number in range(times):
            now = self.says + timedelta(seconds=number)
            name = stamps.next_stamp(now, self.snapshots[-1].stamp if self.snapshots else None)
            self.snapshots.append(Snapshot(name, now))
            self.taken[name] = self.true
            self.named[name] = now

    def night(self, policy: Policy = Policy()) -> None:  # noqa: B008  it is frozen
        self.true += DAY
        self.clock = rotation_clock.looked_at(self.clock, self.says.timestamp(), (self.true - NOW).total_seconds())
        if rotation_clock.why_not(self.clock):
            return
        verdicts = plan(self.snapshots, (), policy, self.says)
        lately = sum(abs(self.says - when) < DAY for when in self.ended)
        spread = rotation_plan.spread(verdicts, max(0, rotation_plan.MOST_DAYS_A_DAY - lately))
        self.ended += [self.says] * len(rotation_plan.ending(spread))
        stay = kept(spread)
        self.removed |= {one.stamp: self.true for one in self.snapshots if one.stamp not in stay}
        self.snapshots = [one for one in self.snapshots if one.stamp in stay]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([0, 0, 1, 1, 1, 2, 24]), min_size=50, max_size=150))
def test_no_sequence_of_runs_pushes_a_snapshot_out_early(runs: list[int]) -> None:
    server, policy = Server(), Policy()
    for times_a_day in runs:
        server.runs(times_a_day)
        server.night(policy)
    firsts = {first_of(server.taken, one, lambda when: when.isocalendar()[:2]) for one in server.taken}
    firsts_of_months = {first_of(server.taken, one, lambda when: (when.year, when.month)) for one in server.taken}
    assert not firsts_of_months & server.removed.keys()
    for name, gone in server.removed.items():
        age = gone - server.taken[name]
        assert age > policy.all_days * DAY
        assert name not in firsts or age > policy.weekly_days * DAY
    # And rotation keeps up with whatever is sent, once the laptop is a laptop again.
    for _ in range(100):
        server.runs()
        server.night(policy)
    assert all(verdict.keep for verdict in plan(server.snapshots, (), Policy(31, 121), server.says))


def first_of(taken: dict[str, datetime], name: str, group: Callable[[datetime], object]) -> str:
    return min(other for other, when in taken.items() if group(when) == group(taken[name]))


@settings(max_examples=20, deadline=None)
@given(st.integers(41, 40_000), st.integers(1, 12), st.integers(0, 3), st.booleans())
def test_no_leap_of_the_clock_pushes_snapshots_out_before_a_week_nor_more_than_two_days_a_day(
    leap: int, nights: int, runs: int, back: bool
) -> None:
    server = Server()
    for _ in range(100):
        server.runs()
        server.night()
    before = set(server.removed)
    server.off = leap * DAY
    for night in range(nights):
        server.runs(runs)
        server.night()
        gone = len(server.removed.keys() - before)
        assert gone <= max(0, 2 * (night + 1 - 7))
    lost = server.removed.keys() - before
    # One a month, and the newest days, are there even then.
    assert not {first_of(server.taken, one, lambda when: (when.year, when.month)) for one in server.taken} & lost
    if back:  # set right: what is there is judged as if nothing had been
        server.off = timedelta(0)
        for _ in range(20):
            server.runs()
            server.night()
        for name in server.removed.keys() - before - lost:
            assert server.removed[name] - server.taken[name] > 30 * DAY


@settings(max_examples=20, deadline=None)
@example(1, 32)  # named within a day of the clock, which is wrong by less than what DESIGN.md calls a leap
@given(st.integers(1, 3000), st.integers(1, 60))
def test_what_is_named_while_the_clock_is_behind_goes_not_before_its_time(behind: int, nights: int) -> None:
    server = Server()
    server.runs()
    server.night()
    server.off = -(behind + nights) * DAY
    for _ in range(nights):
        server.runs()
        server.night()
    server.off = timedelta(0)
    for _ in range(130):
        server.runs()
        server.night()
    for name, gone in server.removed.items():
        # Where the name agrees with the clock of its time, it is all that there is to go by, right or wrong. They may
        # differ by a day (taken()), and by so much an age may be off.
        agrees = stamps.time_of(name) <= server.named[name] + DAY
        assert gone - (stamps.time_of(name) if agrees else server.taken[name]) > 29 * DAY


def test_after_a_leap_and_back_what_is_named_ahead_of_time_is_rotated_by_when_it_was_named() -> None:
    server = Server()
    server.runs()
    server.night()
    server.off = 14_000 * DAY
    server.runs()
    server.night()
    server.off = timedelta(0)
    for _ in range(400):
        server.runs()
        server.night()
    assert len(server.snapshots) < 80
    assert all(gone - server.taken[name] > 30 * DAY for name, gone in server.removed.items())
