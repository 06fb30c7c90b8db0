# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a restore is offered before a backup: after a reflash the Journal is empty and the server's is full. Pure.

The server pins what the empty Journal would push aside (DESIGN.md, "The newest is not the best"), so nothing is lost
either way; but the child should have the documents on the laptop, and know it.
"""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple

from xo_client import restore_plan

LEAST = 10  # documents, and
SHARE = 0.5  # more than this share of them: the server's own measure of a bulk loss


class Best(NamedTuple):
    """The best that the server keeps of this learner."""

    tree: str
    stamp: str
    documents: int | None  # None: the server did not say

    @property
    def day(self) -> str:
        """The day of the snapshot, UTC."""
        return self.stamp[:10]


def best(history: dict[str, Any]) -> list[Best]:
    """Return the best snapshot of each tree in the server's answer to `xs history`, the laptop's own tree first."""
    found = []
    for tree in restore_plan.dicts(history.get("trees")):
        stamp, name = tree.get("best"), tree.get("tree")
        if not (isinstance(stamp, str) and isinstance(name, str)) or stamp not in restore_plan.stamps(tree):
            continue
        counts = [
            one.get("documents") for one in restore_plan.dicts(tree.get("snapshots")) if one.get("stamp") == stamp
        ]
        found.append(Best(name, stamp, next((count for count in counts if isinstance(count, int)), None)))
    return found


def uncounted(history: dict[str, Any], documents: int) -> bool:
    """Say whether the laptop has to count for itself: the server did not, and a Journal of so few `documents` could be
    that of a reflashed laptop.
    """
    return documents < LEAST and any(one.documents is None for one in best(history))


def is_due(
    history: dict[str, Any], documents: int, counted: Mapping[tuple[str, str], int] | None = None
) -> Best | None:
    """Return what to offer to a child whose Journal holds so many `documents`; None: back up.

    `counted` is what the laptop counted for itself, by tree and stamp.
    """
    own = counted or {}
    known = [one._replace(documents=own.get((one.tree, one.stamp), one.documents)) for one in best(history)]
    candidates = [one for one in known if one.documents is not None]
    if not candidates:
        return None
    most = max(candidates, key=lambda one: one.documents or 0)
    there = most.documents or 0
    is_empty = documents == 0 and there > 0  # the server pins nothing for so few, so there is no other warning
    return most if is_empty or (there >= LEAST and documents < there * SHARE) else None
