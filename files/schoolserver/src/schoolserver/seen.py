# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each laptop was seen last, and with which client: written by permission, read by who looks for laptops.

The address is that of an ssh session, which only the laptop's key opens. What client it is the laptop says itself when
it asks for permission: a hint, no proof. Derived from traffic: lost is no loss.
"""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path

from schoolserver.stamps import written

_PLACE = re.compile(r"[0-9a-f.:]+(%[A-Za-z0-9._-]{1,15})?", re.ASCII)
_LONGEST = 60  # characters of a client's name for itself
_OFTEN = timedelta(hours=1)  # the same laptop at the same place is not written down again within this


@dataclass(frozen=True)
class Sight:
    """One laptop, seen."""

    address: str
    client: str  # as it calls itself, "" when it never asked since this part started
    when: str  # server time, UTC


_FIELDS = tuple(one.name for one in fields(Sight))


def read(file: Path) -> dict[str, Sight]:
    """Return {tree: where it was seen last} out of `file`; nothing when it is missing or damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {tree: Sight(*(str(one[name]) for name in _FIELDS)) for tree, one in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def note(file: Path, tree: str, address: object, client: str, now: datetime) -> None:
    """Write into `file` that `tree` was seen at `address` at the UTC time `now`; raise OSError.

    What is no address is not written down: this reaches a terminal, and the inventory of laptops.
    """
    try:
        place = str(ipaddress.ip_address(str(address)))
    except ValueError:
        return
    if not _PLACE.fullmatch(place):  # Python takes anything for the interface behind the % of fe80::1%eth0
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
