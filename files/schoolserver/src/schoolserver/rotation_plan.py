# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshots stay, as a pure function of what there is, the policy, the room on the disk and the time.

Everything for a month, then one a week for a school term, then one a month for ever (Policy). Age is the distance to
the tree's newest snapshot. Of a calendar week or month the oldest snapshot stays: no run that comes later, whoever
sends it, can take its place, and what stays of a week is still there when the month chooses. So a plan is the same
after it was carried out, and a longer policy keeps whatever a shorter one keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

# One snapshot that a leap of the clock stamped decades ahead makes all others of its tree look old at once. Two days a
# day leave a person time to see it; a laptop's history grows by one day a day, so rotation keeps up.
MOST_DAYS_A_DAY = 2
FLOOR_DAYS = 7  # however full the disk is, everything this young stays, and one a month
DAY = timedelta(days=1)
EARLIEST = datetime(2006, 1, 1, tzinfo=UTC)  # no XO laptop existed before

NEWEST = "the newest"
PINNED = "pinned"
UNTRUE = "its stamp cannot be true"
OF_WEEK = "first of its week"
OF_MONTH = "first of its month"
WAITS = "goes in the next days"


@dataclass(frozen=True)
class Policy:
    """For how many days of age what stays. `monthly_days` 0 is for ever."""

    all_days: int = 30
    weekly_days: int = 120
    monthly_days: int = 0

    def __str__(self) -> str:
        monthly = f"for {self.monthly_days} days" if self.monthly_days else "for ever"
        return f"everything for {self.all_days} days, one a week for {self.weekly_days}, one a month {monthly}"


@dataclass(frozen=True)
class Space:
    """How full the disk is, from where on histories get shorter, and from where on no backup is taken; in percent."""

    used: float = 0
    thin: float = 80
    full: float = 90

    def __str__(self) -> str:
        limits = f"above {self.thin:.0f} % histories get shorter, above {self.full:.0f} % no backup is taken"
        return f"the disk is {self.used:.0f} % full; {limits}"

    @property
    def pressure(self) -> float:
        """0 up to the soft limit, 1 from the hard limit on: a soft limit above that would free nothing in time."""
        if self.used >= self.full:
            return 1.0
        return max(0.0, (self.used - self.thin) / (self.full - self.thin)) if self.thin < self.full else 0.0


@dataclass(frozen=True)
class Snapshot:
    """One snapshot: its stamp, and what the server's clock said when it was named, where that is known."""

    stamp: str
    named: datetime | None = None


@dataclass(frozen=True)
class Verdict:
    """What becomes of one snapshot, and why, in words for a person."""

    stamp: str
    keep: bool
    why: str
    age: int | None = None  # days before the newest, None where that is unknown
    day: str = ""  # that it was taken on, "" where that is unknown
    instead: str = ""  # the first of its week or month


def plan(snapshots: Iterable[Snapshot], pinned: Collection[str], policy: Policy, now: datetime) -> list[Verdict]:
    """Return a verdict for each of one tree's `snapshots`, by stamp; `now` is the server's UTC time.

    Planning again after the deletions returns the same verdicts for what stayed.
    """
    ordered = sorted(snapshots, key=lambda one: one.stamp)
    times = {one.stamp: when for one in ordered if (when := taken(one, now))}
    newest = max(times.values(), default=now)
    first: dict[tuple[int, int, str], str] = {}  # of each week and month
    verdicts = []
    for one in sorted(ordered, key=lambda one: (times.get(one.stamp, EARLIEST), one.stamp)):
        verdict = Verdict(one.stamp, True, UNTRUE)
        if when := times.get(one.stamp):
            week, month, day = _calendar(when.toordinal())
            of_week, of_month = first.setdefault(week, one.stamp), first.setdefault(month, one.stamp)
            verdict = replace(_by_age(one.stamp, (newest - when).days, of_week, of_month, policy), day=day)
        if one is ordered[-1]:
            verdict = replace(verdict, keep=True, why=NEWEST)
        elif one.stamp in pinned:
            verdict = replace(verdict, keep=True, why=PINNED)
        verdicts.append(verdict)
    return sorted(verdicts, key=lambda verdict: verdict.stamp)


def taken(snapshot: Snapshot, now: datetime) -> datetime | None:
    """Return when `snapshot` was taken, as far as it can be true at the time `now`, else None.

    A name never goes backwards, so after the clock leapt ahead and back, names run ahead of it for years; then the
    time of naming counts. Where the clock was behind when it named a snapshot, nothing tells the time.
    """
    said, latest = _time_of(snapshot.stamp), now + DAY
    if said <= latest and (snapshot.named is None or said <= snapshot.named + DAY):
        when = said
    elif said > latest and snapshot.named is not None and snapshot.named <= latest:
        when = snapshot.named
    else:
        return None
    return when if when >= EARLIEST else None


def in_question(verdicts: Sequence[Verdict], now: datetime) -> set[str]:
    """Return the stamps whose time of naming `verdicts` hang on: the future, what goes, and for what."""
    asked = {verdict.stamp for verdict in verdicts if _time_of(verdict.stamp) > now + DAY}
    going = [verdict for verdict in verdicts if not verdict.keep]
    if going:
        asked.update([verdict.stamp for verdict in verdicts if verdict.age == 0][-1:])  # from which age is counted
    return asked | {stamp for verdict in going for stamp in (verdict.stamp, verdict.instead) if stamp}


def tightened(policy: Policy, pressure: float) -> Policy:
    """Return `policy` with less and less between the floor and what it asks for, as `pressure` goes from 0 to 1.

    The floor: all of the last FLOOR_DAYS days, and one a month as long as the policy says.
    """

    def shorter(days: int) -> int:
        least = min(days, FLOOR_DAYS)
        return least + int((days - least) * (1 - pressure))

    # One a month begins earlier than the policy says, and lasts as long.
    monthly = policy.monthly_days and max(policy.monthly_days, policy.weekly_days)
    return Policy(shorter(policy.all_days), shorter(policy.weekly_days), monthly)


def shares(weights: Mapping[str, int], pressure: float) -> dict[str, float]:
    """Return {learner: how far to tighten that one's policy}, given what each weighs and the pressure of the disk.

    The heaviest comes first and gives most: a learner starts to give when the pressure exceeds the share of all weight
    that lies with heavier ones, and at full pressure everybody is at the floor.
    """
    total, heavier, found = sum(weights.values()), 0, {}
    for learner, weight in sorted(weights.items(), key=lambda pair: (-pair[1], pair[0])):
        before = heavier / total if total else 0.0
        found[learner] = max(0.0, (pressure - before) / (1 - before)) if before < 1 else float(pressure == 1)
        heavier += weight
    return found


def spread(verdicts: Iterable[Verdict], days: int) -> list[Verdict]:
    """Return `verdicts` such that no more than `days` days end of which the tree has snapshots, the oldest first.

    Of a day with several snapshots all but one may go at once: a laptop that backs up every hour must not get ahead of
    rotation for ever, and no leap of the clock takes more than `days` days.
    """
    verdicts = list(verdicts)
    left = Counter(verdict.day for verdict in verdicts)
    spread_out = []
    for verdict in verdicts:
        ends = not verdict.keep and left[verdict.day] == 1
        if ends and not days:
            spread_out.append(replace(verdict, keep=True, why=WAITS))
            continue
        days -= ends
        left[verdict.day] -= not verdict.keep
        spread_out.append(verdict)
    return spread_out


def ending(verdicts: Iterable[Verdict]) -> list[str]:
    """Return the stamps that go as the last of their day, one for each day of which nothing stays."""
    verdicts = list(verdicts)
    stay = {verdict.day for verdict in verdicts if verdict.keep}
    return list({one.day: one.stamp for one in verdicts if not one.keep and one.day not in stay}.values())


def _by_age(stamp: str, age: int, of_week: str, of_month: str, policy: Policy) -> Verdict:
    longest = policy.monthly_days and max(policy.all_days, policy.weekly_days, policy.monthly_days)
    if age <= policy.all_days:
        return Verdict(stamp, True, f"not over {policy.all_days} days old", age)
    if longest and age > longest:
        return Verdict(stamp, False, f"over {longest} days old", age)
    if stamp == of_month:
        return Verdict(stamp, True, OF_MONTH, age)
    if age > policy.weekly_days:
        return Verdict(stamp, False, "not the first of its month", age, instead=of_month)
    if stamp == of_week:
        return Verdict(stamp, True, OF_WEEK, age)
    return Verdict(stamp, False, "not the first of its week", age, instead=of_week)


@lru_cache(maxsize=20_000)
def _calendar(day: int) -> tuple[tuple[int, int, str], tuple[int, int, str], str]:
    """Return week, month and name of a day, each the same for all trees."""
    date = datetime.fromordinal(day)
    week = date.isocalendar()
    return (week[0], week[1], "week"), (date.year, date.month, "month"), date.strftime("%Y-%m-%d")


def _time_of(stamp: str) -> datetime:
    # As stamps.time_of() does, in a tenth of the time.
    return datetime(
        int(stamp[:4]), int(stamp[5:7]), int(stamp[8:10]),
        int(stamp[11:13]), int(stamp[13:15]), int(stamp[15:17]), tzinfo=UTC,
    )  # fmt: skip
