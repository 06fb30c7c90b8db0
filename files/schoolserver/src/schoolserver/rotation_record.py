# SPDX-License-Identifier: GPL-3.0-or-later
"""What rotation has to remember from one night to the next: /var/lib/xs/rotation.json, one file for all trees.

    {"clock": {"wall", "up", "wait"},
     "ended": {tree: {snapshot: when}},
     "last": {"ended", "removed", "stopped", "failed": {tree: why}}}

`clock` is rotation_clock's. `ended`: the snapshots that went within a day and were the last of their day. `last`: how
the rotation went that came to its end last. Lost, the limit of a day begins anew, and a leap of the clock is not seen
once. One file, because a sync for each tree would be most of a night's work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from schoolserver import durable
from schoolserver.rotation_clock import Clock
from schoolserver.stamps import time_of

FILE = "rotation.json"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Last:
    """How the last rotation went that came to its end."""

    ended: str  # server time, UTC, as stamps.FORM
    removed: int  # snapshots
    stopped: str  # why nothing was removed at all, "" where all could be
    failed: Mapping[str, str]  # {tree: why it was not rotated}


@dataclass(frozen=True)
class Record:
    """All of it."""

    clock: Clock | None = None
    ended: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    last: Last | None = None

    def lately(self, now: datetime) -> dict[str, dict[str, str]]:
        """Return what `ended` within a day of `now`; a clock that went back makes nothing later."""
        return {
            tree: lately
            for tree, names in self.ended.items()
            if (lately := {name: when for name, when in names.items() if abs(now - time_of(when)) < DAY})
        }


def read(file: Path) -> Record:
    """Return what `file` holds, nothing where it is missing or damaged; raise OSError if the disk fails."""
    try:
        return parse(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Record()  # it slows rotation down and is no promise, so a damaged one stops nothing


def parse(text: str) -> Record:
    """Return the record in `text`; raise ValueError, TypeError, KeyError or AttributeError if it is none."""
    data = json.loads(text)
    ended = {tree: dict(names) for tree, names in data["ended"].items()}
    for when in (when for names in ended.values() for when in names.values()):
        time_of(when)
    return Record(data["clock"] and _clock(data["clock"]), ended, data["last"] and _last(data["last"]))


def write(file: Path, record: Record, gid: int = 0) -> None:
    """Replace `file`, readable by the group `gid`, on the disk when this returns; raise OSError."""
    durable.replace(file, json.dumps(asdict(record), indent=1) + "\n", 0o640, gid)


def _clock(data: dict[str, Any]) -> Clock:
    return Clock(float(data["wall"]), float(data["up"]), float(data["wait"]))


def _last(data: dict[str, Any]) -> Last:
    time_of(data["ended"])
    failed = {str(tree): str(why) for tree, why in data["failed"].items()}
    return Last(str(data["ended"]), int(data["removed"]), str(data["stopped"]), failed)
