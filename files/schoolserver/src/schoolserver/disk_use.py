# SPDX-License-Identifier: GPL-3.0-or-later
"""How full the disk was day by day, and from that in how many weeks it will be full: disk.json in /var/lib/xs.

    [{"when": "2026-11-23T023000Z", "used": 412316860416, "size": 1000204886016}]

Derived from what happened: lost is no loss, for a week later there is a forecast again.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import combinations, pairwise
from pathlib import Path

from schoolserver import durable
from schoolserver.stamps import FORM, time_of

FILE = "disk.json"
DAYS = 120  # records kept: a term and its holidays
FEWEST = 5  # records that a forecast needs, over
SHORTEST = timedelta(days=6)  # so much time
_LEAP = timedelta(days=40)  # what DESIGN.md calls a leap of the clock
_WEEK = timedelta(weeks=1).total_seconds()


@dataclass(frozen=True)
class Use:
    """How full the disk was once."""

    when: str  # a stamp, by the server's clock
    used: int  # bytes that nobody can have any more, as the gate counts them
    size: int  # bytes of the file system


def note(file: Path, users: Path, now: datetime, gid: int) -> None:
    """Write into `file` how full the disk of the directory `users` is at the UTC time `now`, once a day.

    The group `gid` may read it. Raise OSError.
    """
    records = read(file)
    stamp = now.strftime(FORM)
    if records and records[-1].when[:10] == stamp[:10]:
        return
    status = os.statvfs(users)
    size = status.f_blocks * status.f_frsize
    records.append(Use(stamp, size - status.f_bavail * status.f_frsize, size))
    text = json.dumps([asdict(one) for one in records[-DAYS:]], indent=1) + "\n"
    durable.replace(file, text, 0o640, gid)


def read(file: Path) -> list[Use]:
    """Return what `file` holds, in the order in which it was noted; nothing when it is missing or damaged."""
    try:
        found = [Use(one["when"], one["used"], one["size"]) for one in json.loads(file.read_text(encoding="utf-8"))]
        good = all(type(one.used) is type(one.size) is int and one.size > 0 for one in found)
        for one in found:
            time_of(one.when)
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError):
        return []
    return found if good else []


def weeks_left(records: Sequence[Use], full_percent: float) -> float | None:
    """Return in how many weeks the disk is fuller than `full_percent`, by `records` in the order of their noting.

    0 when it is now; None when it does not fill up, or too little is known: FEWEST records over SHORTEST. The growth is
    the median of that between any two records (Theil and Sen), so that no single day drives it: neither a class of new
    laptops, nor a night in which much was removed.
    """
    if not records:
        return None
    last = records[-1]
    room = last.size * full_percent / 100 - last.used
    if room < 0:
        return 0.0
    spans = [span for span in _spans(_same_disk(records)) if time_of(span[-1].when) - time_of(span[0].when) >= SHORTEST]
    growths = [_growth(one, other) for span in spans if len(span) >= FEWEST for one, other in combinations(span, 2)]
    growth = statistics.median(growths) if growths else 0.0
    return room / growth if growth > 0 else None


def _growth(one: Use, other: Use) -> float:
    """Return in bytes a week how fast the disk filled from `one` to `other`."""
    return (other.used - one.used) / ((time_of(other.when) - time_of(one.when)).total_seconds() / _WEEK)


def _same_disk(records: Sequence[Use]) -> Sequence[Use]:
    """Return the records since the disk was exchanged: for one of another size, or for a fresh one."""
    start = 0
    for number, (before, after) in enumerate(pairwise(records), 1):
        if before.size != after.size or after.used < before.used / 2:
            start = number
    return records[start:]


def _spans(records: Sequence[Use]) -> Iterator[Sequence[Use]]:
    """Part `records` where the clock went backwards or leapt: only within a part do times tell how long it took."""
    start = 0
    for number, (before, after) in enumerate(pairwise(records), 1):
        if not timedelta(0) < time_of(after.when) - time_of(before.when) <= _LEAP:
            yield records[start:number]
            start = number
    yield records[start:]
