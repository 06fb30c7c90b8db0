# SPDX-License-Identifier: GPL-3.0-or-later
"""What a technician sees of the laptops: `xs laptop list` and `show`, xs_laptop_info, and the inventory of laptops."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from schoolserver import accounts, audit, house, paths, refusals, registry, seen
from schoolserver.accounts import Known
from schoolserver.house import House
from schoolserver.seen import Sight

_NEVER = Sight("", "", "")


def everything(where: House | None = None, seen_file: Path = paths.SEEN) -> dict[str, Any]:
    """Return {"laptops", "damaged", "refused"}: every tree by time of registration, broken accounts, refusals."""
    where = where or House()
    known = house.read(where)
    return {
        "laptops": laptops(known, where, seen_file),
        "damaged": [{"tree": tree, "why": why} for tree, why in sorted(known.damaged.items())],
        "refused": [asdict(one) for one in refusals.read(where.state / paths.REFUSALS.name)],
    }


def laptops(known: Known, where: House, seen_file: Path = paths.SEEN) -> list[dict[str, Any]]:
    """Return one entry for each account in `known`, by time of registration."""
    sights = seen.read(seen_file)
    rows = sorted(registry.rows_of(known.accounts), key=lambda row: (row[0].registered, row[0].tree))
    found = []
    for row, account in rows:
        entry = asdict(row)
        entry["class"] = entry.pop("class_name")
        sight = sights.get(row.writes, _NEVER)
        found.append(
            {
                **entry,
                "latest": latest(where.users / row.writes),
                "address": sight.address,
                "client": sight.client,
                "seen": sight.when,
                "keys": [_key(key) for key in account.keys],
                "approvals": [asdict(approval) for approval in account.approvals],
            }
        )
    return found


def trail(tree: str, where: House | None = None) -> list[dict[str, str]]:
    """Return what the audit trail says of `tree`, oldest first."""
    return [asdict(entry) for entry in audit.read((where or House()).audit, [tree])]


def latest(tree: Path) -> str | None:
    """Return the stamp of the newest snapshot of the tree at `tree`, None before the first."""
    try:
        return os.readlink(tree / "datastore-latest").rpartition("/")[2]
    except OSError:
        return None


def _key(key: accounts.AccountKey) -> dict[str, str]:
    digest = base64.b64encode(hashlib.sha256(base64.b64decode(key.blob)).digest()).decode().rstrip("=")
    # As ssh-keygen -l prints it, so that it can be compared with what a laptop shows.
    return {"type": key.type, "fingerprint": f"SHA256:{digest}", "since": key.since}
