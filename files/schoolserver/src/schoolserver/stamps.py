# SPDX-License-Identifier: GPL-3.0-or-later
"""Server time in UTC, as text. Snapshot names never go backwards (DESIGN.md, "Server time only")."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

FORM = "%Y-%m-%dT%H%M%SZ"
_SHAPE = re.compile(r"\d{4}-\d{2}-\d{2}T\d{6}Z", re.ASCII)


def is_stamp(name: str) -> bool:
    """Say whether `name` is a snapshot name such as 2026-11-23T101500Z."""
    return _SHAPE.fullmatch(name) is not None and _parses(name)


def time_of(stamp: str) -> datetime:
    """Return the UTC time that `stamp` names; raise ValueError if it names none."""
    return datetime.strptime(stamp, FORM).replace(tzinfo=UTC)


def written(now: datetime) -> str:
    """Return the UTC time `now` as accounts and answers have it: 2026-11-23T10:15:00Z."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def next_stamp(now: datetime, newest: str | None) -> str:
    """Given the time and the newest stamp of the tree, return the name for the next snapshot.

    When the clock went back, or two runs end in one second, the next name is one second after the newest.
    """
    if newest is not None:
        now = max(now, time_of(newest) + timedelta(seconds=1))
    return now.strftime(FORM)


def _parses(name: str) -> bool:
    try:
        time_of(name)
    except ValueError:
        return False
    return True
