# SPDX-License-Identifier: GPL-3.0-or-later
"""Old snapshots go, as rotation_plan.py says: for the timer, `xs rotate` and the module xs_rotation.

Rotation needs to know nothing of documents: what left the Journal was set aside when it left (keepsakes.py). It may be
interrupted anywhere: the plan is made from what is there, so the next one goes on, and removes what was half removed.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from schoolserver import (
    allowance,
    catalog,
    datastore,
    disk_use,
    engines,
    house,
    paths,
    pins,
    quiet,
    rotation_clock,
    rotation_record,
    settings,
    snapshot,
)
from schoolserver.alone import alone
from schoolserver.engines import DATASTORE, KINDS, Kind
from schoolserver.errors import Refusal
from schoolserver.house import House
from schoolserver.rotation_plan import Policy, Space
from schoolserver.rotation_record import Last, Record
from schoolserver.rotation_trees import TreePlan, name_of, names, plan_all
from schoolserver.stamps import FORM

GOING = ".going"  # at the end of a snapshot's name, from the moment on in which it is none any more
_PATIENCE = 3600.0  # seconds for which the timer's run makes way for backups
_CLOCK_SECONDS = 10
LOCK = "rotation.lock"
_ANOTHER = "another rotation is under way: journalctl -u xs-rotation"


class Later(Refusal):
    """A tree could not be rotated because a session is under way; nothing is wrong."""


@dataclass(frozen=True)
class Outcome:
    """What was removed of one tree, or would be, by name; and what stopped it."""

    plan: TreePlan
    removed: list[str]
    error: Exception | None = None

    @property
    def tree(self) -> str:
        """The tree's name."""
        return self.plan.tree.name

    @property
    def failed(self) -> str:
        """In words what is wrong with the tree, "" where nothing is: a session under way is not."""
        return f"{self.error}" if self.error and not isinstance(self.error, Later) else ""


def policy_of(given: settings.Snapshots) -> Policy:
    """Return the policy that is in the settings."""
    return Policy(given.keep_all_days, given.keep_weekly_days, given.keep_monthly_days)


def space_of(users: Path) -> Space:
    """Return how full the disk of `users` is, and the limits from the settings; raise Refusal or OSError."""
    thin, full = settings.load("snapshots").thin_percent, settings.load("accounts").full_percent
    return Space(allowance.used_percent(str(users)), thin, full)


def rotate(
    where: House, policy: Policy, space: Space, now: datetime, *, dry_run: bool = False, patience: float = 0.0
) -> Iterator[Outcome]:
    """Plan all trees, then remove what does not stay; yield an outcome for each tree.

    With `dry_run` nothing is done, and the outcomes are those that would be. `patience`: for how many seconds in all to
    wait while laptops back up. Raise Refusal where nothing may be removed now, or another rotation is under way.
    """
    file = where.state / rotation_record.FILE
    with nullcontext() if dry_run else alone(where.state / LOCK, _ANOTHER):
        before = rotation_record.read(file)
        clock = rotation_clock.looked_at(before.clock, now.timestamp(), uptime())
        if clock.wait and _network_time():
            clock = rotation_clock.trusted(clock)
        record = Record(clock, before.lately(now), before.last)
        if stopped := rotation_clock.why_not(clock):
            if not dry_run:
                record = replace(record, last=Last(now.strftime(FORM), 0, stopped, {}))
                rotation_record.write(file, record, house.readers())
            raise Refusal(stopped)
        plans = plan_all(where.users, policy, space, record.ended, now)
        if dry_run:
            yield from (Outcome(plan, list(plan.named(keep=False)), plan.error) for plan in plans)
            return
        record = replace(record, ended={plan.tree.name: plan.ended for plan in plans if plan.ended})
        rotation_record.write(file, record, house.readers())
        removed, failed = 0, {}
        for outcome in _apply_all(plans, where.state / paths.CATALOG.name, patience):
            removed += len(outcome.removed)
            if outcome.failed:
                failed[outcome.tree] = outcome.failed
            yield outcome
        last = Last(now.strftime(FORM), removed, "", failed)
        rotation_record.write(file, replace(record, last=last), house.readers())


def uptime() -> float:
    """Return for how many seconds the machine has been up, asleep or not: no clock that can be set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def apply(plan: TreePlan, catalog_file: Path = paths.CATALOG, patience: quiet.Patience | None = None) -> Iterator[str]:
    """Remove what does not stay by `plan`, oldest first; yield each name once it is gone.

    Raise OSError, or Later when a session is under way and `patience` with it is not over.
    """
    engine, tree = engines.of(plan.tree), plan.tree
    for kind in KINDS:
        for left in sorted((tree / kind.snapshots).glob(f".*{GOING}")):
            engine.remove(left)
    for kind, verdicts in plan.verdicts.items():
        for stamp in [verdict.stamp for verdict in verdicts if not verdict.keep]:
            if patience:
                patience.wait()
            if not _may_go(tree, kind, stamp):
                continue
            if kind is DATASTORE:
                # The catalog first: it must never point a child at a copy that is gone. And before the lock, which a
                # laptop waits for; where the snapshot stays after all, the next update finds the difference.
                _forget(catalog_file, tree, stamp)
            going = tree / kind.snapshots / f".{stamp}{GOING}"
            with _held(tree, patience):  # whoever pins a snapshot holds it too
                if not _may_go(tree, kind, stamp):
                    continue
                # Out of sight at once: a removal that is interrupted leaves nothing that looks like a whole snapshot.
                (tree / kind.snapshots / stamp).rename(going)
            engine.remove(going)
            yield name_of(kind, stamp)


def main() -> None:
    """Rotate every tree by the settings, for the timer; exit 1 when one could not be done."""
    where, failed = House(), False
    try:
        disk_use.note(where.state / disk_use.FILE, where.users, datetime.now(UTC), house.readers())
        policy, space = policy_of(settings.load("snapshots")), space_of(where.users)
        if space.pressure:
            print(space, flush=True)
        for outcome in rotate(where, policy, space, datetime.now(UTC), patience=_PATIENCE):
            for name in outcome.removed:
                print(f"{outcome.tree}: removed {name}", flush=True)
            if outcome.error:
                failed = failed or bool(outcome.failed)
                print(f"{outcome.tree}: not rotated: {outcome.error}", file=sys.stderr, flush=True)
    except (Refusal, OSError) as error:
        sys.exit(str(error))
    sys.exit(int(failed))


def _apply_all(plans: list[TreePlan], catalog_file: Path, patience: float) -> Iterator[Outcome]:
    """Apply all `plans`; a tree with a session under way comes again at the end."""
    waits = quiet.Patience([plan.tree for plan in plans], patience) if patience else None
    again: list[TreePlan] = []
    for plan in plans:
        outcome = _apply(plan, catalog_file, waits)
        if isinstance(outcome.error, Later) and not outcome.removed:
            again.append(plan)
        else:
            yield outcome
    for plan in again:
        yield _apply(plan, catalog_file, waits)


def _apply(plan: TreePlan, catalog_file: Path, waits: quiet.Patience | None) -> Outcome:
    if plan.error:
        return Outcome(plan, [], plan.error)
    try:
        return Outcome(plan, list(apply(plan, catalog_file, waits)))
    except Exception as error:  # whatever is wrong with one tree, the others are rotated
        if not isinstance(error, OSError | Refusal):
            traceback.print_exc()
        there = set(names(plan.tree))
        return Outcome(plan, [name for name in plan.named(keep=False) if name not in there], error)


def _may_go(tree: Path, kind: Kind, stamp: str) -> bool:
    # Planned a moment ago: a snapshot may have come, or a pin, since. The newest there is now is never touched.
    stamps = datastore.snapshots(tree, kind.snapshots)
    return stamp in stamps[:-1] and not (kind is DATASTORE and stamp in pins.read(tree))


@contextmanager
def _held(tree: Path, patience: quiet.Patience | None) -> Iterator[None]:
    """Hold the lock of the tree; raise Later when a session does."""
    with ExitStack() as stack:
        try:
            stack.enter_context(snapshot.held(tree))
        except (Refusal, OSError) as error:
            # A laptop that is never out of a session would keep its history for ever. While it holds the lock, nobody
            # can pin.
            if patience is None or not patience.over:
                raise Later("a session is under way: its turn comes with the next rotation") from error
        yield


def _forget(catalog_file: Path, tree: Path, stamp: str) -> None:
    try:
        catalog.forget(catalog_file, tree, stamp)
    except (OSError, sqlite3.Error) as error:  # derived: the next update finds the difference
        print(f"{tree.name}: the catalog is late: {error}", file=sys.stderr, flush=True)


def _network_time() -> bool:
    """Say whether the kernel's clock follows the network's time, whatever program sets it."""
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CLOCK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == "yes"


if __name__ == "__main__":
    main()
