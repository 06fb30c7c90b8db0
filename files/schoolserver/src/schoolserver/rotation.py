# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshots stay. Age is the distance to the tree's newest snapshot, so no clock and no count drives it.

Rotation needs to know nothing of documents: what left the Journal was set aside when it left (keepsakes.py).
"""

from __future__ import annotations

import json
import sqlite3
import sys
import traceback
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from schoolserver import catalog, datastore, durable, engines, paths, pins, settings
from schoolserver.engines import DATASTORE, KINDS, Kind
from schoolserver.errors import Refusal
from schoolserver.stamps import FORM, time_of

trees_in = datastore.trees

# One snapshot that a leap of the clock stamped decades ahead makes all others of its tree look old at once. Two a day
# leave a person time to see it; a laptop backs up once a day, so rotation keeps up.
MOST_A_DAY = 2
GOING = ".going"  # at the end of a snapshot's name, from the moment on in which it is none any more
RECORD = "rotation.json"  # in the tree: {stamp that went: when}, of the last day


@dataclass(frozen=True)
class Verdict:
    """What becomes of one snapshot, and why, in words for a person."""

    stamp: str
    keep: bool
    why: str
    kind: Kind = DATASTORE

    @property
    def name(self) -> str:
        """What to call the snapshot: its stamp, with its directory where that is not the datastore's."""
        return self.stamp if self.kind is DATASTORE else f"{self.kind.snapshots}/{self.stamp}"


def plan(stamps: Collection[str], pinned: Collection[str], keep_days: int) -> list[Verdict]:
    """Given a tree's stamps, those pinned, and a policy in days, return a verdict for each, oldest first.

    Planning again after the deletions returns the same verdicts for what stayed.
    """
    newest = max(stamps, default=None)
    return [_verdict(stamp, newest, pinned, keep_days) for stamp in sorted(stamps)]


def spread(verdicts: list[Verdict], removals: int) -> list[Verdict]:
    """Return `verdicts` with no more than `removals` snapshots going, the oldest first; the others' turn is later."""
    going = [verdict.stamp for verdict in verdicts if not verdict.keep][:removals]
    return [
        verdict if verdict.keep or verdict.stamp in going else Verdict(verdict.stamp, True, f"{verdict.why}: next days")
        for verdict in verdicts
    ]


def plan_tree(tree: Path, keep_days: int, now: datetime) -> list[Verdict]:
    """Return the plan for the tree at `tree`, MOST_A_DAY kept; raise Refusal when its pins cannot be read."""
    record, verdicts = _record(tree, now), []
    for kind in KINDS:
        stamps = datastore.snapshots(tree, kind.snapshots)
        pinned = pins.read(tree) if kind is DATASTORE else {}
        planned = [replace(verdict, kind=kind) for verdict in plan(stamps, pinned, keep_days)]
        # What is recorded and still there was interrupted, and is planned again.
        gone = [one for one in planned_before(record, kind) if one not in stamps]
        verdicts += spread(planned, max(0, MOST_A_DAY - len(gone)))
    return verdicts


def planned_before(record: Collection[str], kind: Kind) -> list[str]:
    """Return the stamps of `kind` among the names in `record`."""
    return [name.rpartition("/")[2] for name in record if (kind is DATASTORE) == ("/" not in name)]


def apply_tree(tree: Path, verdicts: list[Verdict], catalog_file: Path = paths.CATALOG) -> list[str]:
    """Remove what `verdicts` do not keep, oldest first, and return the names removed; raise OSError.

    It may be interrupted anywhere: the plan is made from what is there, so the next one goes on.
    """
    engine, removed = engines.of(tree), []
    for kind in KINDS:
        for left in (tree / kind.snapshots).glob(f".*{GOING}"):
            engine.remove(left)
    for verdict in verdicts:
        directory, stamp = tree / verdict.kind.snapshots, verdict.stamp
        # Planned a moment ago: a snapshot may have come, or a pin, since. The newest there is now is never touched.
        newest = [stamp] == datastore.snapshots(tree, verdict.kind.snapshots)[-1:]
        if verdict.keep or newest or (verdict.kind is DATASTORE and stamp in pins.read(tree)):
            continue
        if verdict.kind is DATASTORE:
            # The catalog first: it must never point a child at a copy that is gone.
            _forget(catalog_file, tree, stamp)
        # Out of sight at once: a removal that is interrupted leaves no part of a snapshot that looks like a whole one.
        going = directory / f".{stamp}{GOING}"
        (directory / stamp).rename(going)
        engine.remove(going)
        removed.append(verdict.name)
    return removed


def rotate_tree(
    tree: Path, keep_days: int, now: datetime, *, dry_run: bool = False, catalog_file: Path = paths.CATALOG
) -> list[str]:
    """Plan and apply; return the names removed, or with `dry_run` those that would be; raise Refusal or OSError."""
    verdicts = plan_tree(tree, keep_days, now)
    going = [verdict.name for verdict in verdicts if not verdict.keep]
    if dry_run:
        return going
    if not going:
        return apply_tree(tree, [], catalog_file)
    record = {**_record(tree, now), **dict.fromkeys(going, now.strftime(FORM))}
    durable.replace(tree / RECORD, json.dumps(record, indent=1) + "\n", 0o640, tree.stat().st_gid)
    return apply_tree(tree, verdicts, catalog_file)


def rotate_all(
    users: Path, keep_days: int, now: datetime, *, dry_run: bool = False, catalog_file: Path = paths.CATALOG
) -> Iterator[tuple[Path, list[str], Exception | None]]:
    """Go over all trees of `users`; yield each with the names that went, or would go, and what stopped it or None."""
    for tree in trees_in(users):
        before, stopped = names(tree), None
        try:
            removed = rotate_tree(tree, keep_days, now, dry_run=dry_run, catalog_file=catalog_file)
        except Exception as error:  # whatever is wrong with one tree, the others are rotated
            if not isinstance(error, OSError | Refusal):
                traceback.print_exc()
            stopped = error
            removed = sorted(set(before) - set(names(tree)))
        yield tree, removed, stopped


def names(tree: Path) -> list[str]:
    """Return the names of all snapshots of the tree, as Verdict has them."""
    return [
        Verdict(stamp, True, "", kind).name for kind in KINDS for stamp in datastore.snapshots(tree, kind.snapshots)
    ]


def main() -> None:
    """Rotate every tree by the policy in snapshots.toml, for the timer; exit 1 when one could not be done."""
    try:
        keep_days = settings.load("snapshots").keep_days
    except Refusal as refusal:
        sys.exit(str(refusal))
    failed = False
    for tree, removed, error in rotate_all(paths.USERS, keep_days, datetime.now(UTC)):
        for stamp in removed:
            print(f"{tree.name}: removed {stamp}", flush=True)
        if error:
            failed = True
            print(f"{tree.name}: not rotated: {error}", file=sys.stderr, flush=True)
    sys.exit(int(failed))


def _verdict(stamp: str, newest: str | None, pinned: Collection[str], keep_days: int) -> Verdict:
    if stamp == newest:
        return Verdict(stamp, True, "the newest")
    if stamp in pinned:
        return Verdict(stamp, True, "pinned")
    age = time_of(newest or stamp) - time_of(stamp)
    if age <= timedelta(days=keep_days):
        return Verdict(stamp, True, f"{age.days} days before the newest")
    return Verdict(stamp, False, f"{age.days} days before the newest, more than {keep_days}")


def _record(tree: Path, now: datetime) -> dict[str, str]:
    """Return {stamp: when} of what rotation took from the tree within a day of `now`."""
    try:
        record = json.loads((tree / RECORD).read_text(encoding="utf-8"))
        return {stamp: when for stamp, when in record.items() if abs(now - time_of(when)) < timedelta(days=1)}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}  # it slows rotation down; it is no promise, so a damaged one stops nothing


def _forget(catalog_file: Path, tree: Path, stamp: str) -> None:
    try:
        catalog.forget(catalog_file, tree, stamp)
    except (OSError, sqlite3.Error) as error:  # derived: the next update finds the difference
        print(f"{tree.name}: the catalog is late: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
