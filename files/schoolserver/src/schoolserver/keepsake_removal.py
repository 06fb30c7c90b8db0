# SPDX-License-Identifier: GPL-3.0-or-later
"""A person has keepsakes removed for ever: the one way in which a last copy goes (DESIGN.md, 6.2).

Snapshots are not touched: what of the document still lies in one stays there, and the answer says so.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from schoolserver import audit, catalog, datastore, engines, house, keepsakes, pins, snapshot, stamps
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from schoolserver.house import House
from schoolserver.paths import CATALOG


@dataclass(frozen=True)
class Removal:
    """What goes, and what to say of it."""

    stamps: tuple[str, ...]  # of the keepsakes
    said: str


def remove(
    where: House, tree: str, uid: str, stamp: str | None, who: Who, *, check: bool = False, catalog_file: Path = CATALOG
) -> Removal:
    """Remove the keepsake of the document `uid` with this `stamp`, None: each of them; raise Refusal or OSError.

    With `check` only say what would go. Said again after a crash, it goes on where that one stopped.
    """
    at = where.users / tree
    if at not in datastore.trees(where.users):
        raise Refusal(f"no tree is called {tree[:40]!a}: see `xs laptop list`")
    if check:
        return _decided(at, uid, stamp)
    with snapshot.held(at):  # the snapshot part makes keepsakes
        removal, now = _decided(at, uid, stamp), datetime.now(UTC)
        entry = audit.Entry(stamps.written(now), who.name, who.place, tree, removal.said)
        audit.record(where.audit, [entry], house.readers())
        engine = engines.of(at)
        engine.sync(at)  # nothing goes that nobody is on record for
        for going in removal.stamps:
            keepsakes.put_out_of_sight(at, uid, going)
        try:  # before the rest: it must never point a child at a copy that is gone
            catalog.update(catalog_file, at)
        except (OSError, sqlite3.Error) as error:  # derived: the next update finds the difference
            print(f"{tree}: the catalog is late: {error}", file=sys.stderr, flush=True)
        keepsakes.remove_leftovers(at)
        engine.sync(at)
    return removal


def decide(uid: str, kept: Sequence[str], stamp: str | None, holding: Sequence[str], pinned: Sequence[str]) -> Removal:
    """Return what removing the keepsake with this `stamp`, None: all, comes to; raise Refusal. Pure.

    `kept`: the stamps of the document's keepsakes; `holding`: of the snapshots that have it; `pinned`: of those that
    rotation leaves alone.
    """
    going = tuple(one for one in kept if stamp in (None, one))
    if not going:
        when = "" if stamp is None else f" as of {stamp[:40]!a}"
        raise Refusal(f"there is no keepsake of {uid[:40]!a}{when}: see `xs keepsake list`")
    rest = [f"a keepsake as of {one}" for one in kept if one not in going]
    rest += [f"the {'pinned ' if one in pinned else ''}snapshot {one}" for one in holding]
    others = f"it stays in {', '.join(rest)}" if rest else "the tree has no other copy"
    return Removal(going, f"removed for ever: the document {uid} as of {', '.join(going)}; {others}")


def _decided(at: Path, uid: str, stamp: str | None) -> Removal:
    kept = [its for one, its in keepsakes.every(at) if one == uid]
    return decide(uid, kept, stamp, _holding(at, uid) if kept else [], list(pins.read(at)))


def _holding(at: Path, uid: str) -> list[str]:
    found = []
    for stamp in datastore.snapshots(at):
        try:
            with datastore.entry_in(at / "datastore" / stamp, uid):
                found.append(stamp)
        except OSError:
            continue  # it is not there
    return found
