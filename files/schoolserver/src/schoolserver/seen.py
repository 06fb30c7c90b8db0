# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each laptop was seen last, and with which client: written by permission, read by who looks for laptops.

The address is that of an ssh session, which only the laptop's key opens. What client it is the laptop says itself when
it asks for permission: a hint, no proof. Derived from traffic: lost is no loss.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from schoolserver.stamps import written

_LONGEST = 60  # characters of a client's name for itself
_OFTEN = timedelta(hours=1)  # the same laptop at the same place is not written down again within this


@dataclass(frozen=True)
class Sight:
    """One laptop, seen."""

    address: str
    client: str  # as it calls itself, "" when it never asked since this part started
    when: str  # server time, UTC


def read(file: Path) -> dict[str, Sight]:
    """Return {tree: where it was seen last} out of `file`; nothing when it is missing or damaged."""
    try:
        return {tree: Sight(**sight) for tree, sight in json.loads(file.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def note(file: Path, tree: str, address: object, client: str, now: datetime) -> None:
    """Write into `file` that `tree` was seen at `address` at the UTC time `now`; raise OSError."""
    try:
        place = str(ipaddress.ip_address(str(address)))
    except ValueError:
        return
    known = read(file)
    before = known.get(tree)
    shown = "".join(c for c in client if c.isascii() and c.isprintable())[:_LONGEST]
    sight = Sight(place, shown or (before.client if before else ""), written(now))
    same = before and (before.address, before.client) == (sight.address, sight.client)
    if before and same and before.when > written(now - _OFTEN):
        return
    text = json.dumps({one: asdict(seen) for one, seen in {**known, tree: sight}.items()}, indent=1) + "\n"
    new = file.with_name(f".{file.name}.new")
    new.write_text(text, encoding="utf-8")
    new.rename(file)
