# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a backup does not start now. Pure: `laptop.py` gathers the facts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

LOW_PERCENT = 30  # of the battery, as the old client has it
OFFER_DAYS = 3  # with a server in reach, in which an offer waits for an answer; then backups go on


class Power(NamedTuple):
    """What feeds the laptop."""

    mains: bool
    percent: int | None  # of the fullest battery; None without one


class Facts(NamedTuple):
    """What is known without asking the server."""

    profile: bool  # Sugar was used here
    power: Power
    metered: bool


def why_not(facts: Facts) -> str:
    """Return the reason not to start now, "" where there is none."""
    if not facts.profile:
        return "profile"
    if not facts.power.mains and facts.power.percent is not None and facts.power.percent < LOW_PERCENT:
        return "battery"
    return "metered" if facts.metered else ""


def is_done(last: dict[str, Any], now: datetime, *, flag: bool) -> bool:
    """Say whether today's backup is done; `now` is the server's time, `last` what mark() made of the last success.

    The laptop's clock has no say: it may read 1970. `flag` says that the file ds-backup-done is there: whoever removes
    it asks for a backup, as with the old client.
    """
    return flag and last.get("day") == day(now)


def mark(now: datetime) -> dict[str, Any]:
    """Return the record of a success at `now`, the server's time."""
    return {"day": day(now), "at": now.strftime("%Y-%m-%dT%H:%M:%SZ")}


def day(now: datetime) -> str:
    """Return the day of the server's time `now`, in UTC as all of the server's names."""
    return now.strftime("%Y-%m-%d")


def offers(record: dict[str, Any], today: str) -> dict[str, Any]:
    """Return the record of an offer after one more day on which it stands."""
    return {**record, "days": sorted({*_days(record), today})}


def is_patient(record: dict[str, Any]) -> bool:
    """Say whether the offer of a restore still holds a backup back."""
    return len(_days(record)) <= OFFER_DAYS


def _days(record: dict[str, Any]) -> list[str]:
    days = record.get("days")
    return [one for one in days if isinstance(one, str)] if isinstance(days, list) else []
