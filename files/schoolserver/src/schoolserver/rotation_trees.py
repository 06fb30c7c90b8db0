# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for every tree, from what stands on the disk: rotation_plan.py decides, here it is read."""

from __future__ import annotations

import os
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from schoolserver import accounts, allowance, datastore, pins, rotation_plan
from schoolserver.engines import DATASTORE, KINDS, Kind
from schoolserver.errors import Refusal
from schoolserver.learners import Learners
from schoolserver.rotation_plan import Policy, Snapshot, Space, Verdict
from schoolserver.stamps import FORM


@dataclass(frozen=True)
class TreePlan:
    """What becomes of one tree's snapshots."""

    tree: Path
    verdicts: Mapping[Kind, list[Verdict]] = field(default_factory=dict)
    ended: Mapping[str, str] = field(default_factory=dict)  # as rotation_record.py has it, before the first goes
    error: Exception | None = None  # why there is no plan

    def named(self, *, keep: bool) -> dict[str, Verdict]:
        """Return {name: verdict} of what stays, or of what goes, oldest first, the datastore's before documents/'s."""
        kinds = self.verdicts.items()
        return {name_of(kind, one.stamp): one for kind, verdicts in kinds for one in verdicts if one.keep is keep}


def name_of(kind: Kind, stamp: str) -> str:
    """Return what to call a snapshot: its stamp, with its directory where that is not the datastore's."""
    return stamp if kind is DATASTORE else f"{kind.snapshots}/{stamp}"


def names(tree: Path) -> list[str]:
    """Return the names of all snapshots of the tree."""
    return [name_of(kind, stamp) for kind in KINDS for stamp in datastore.snapshots(tree, kind.snapshots)]


def plan_all(
    users: Path, policy: Policy, space: Space, ended: Mapping[str, Mapping[str, str]], now: datetime
) -> list[TreePlan]:
    """Return the plan of every tree below `users`, given {tree: what ended in the last day}; nothing is changed."""
    trees = datastore.trees(users)
    share = thinned(users, [tree.name for tree in trees], space.pressure)
    plans = []
    for tree in trees:
        try:
            plans.append(plan_tree(tree, policy, now, share[tree.name], ended.get(tree.name, {})))
        except Exception as error:  # whatever is wrong with one tree, the others are rotated
            if not isinstance(error, OSError | Refusal):
                traceback.print_exc()
            plans.append(TreePlan(tree, ended=ended.get(tree.name, {}), error=error))
    return plans


def plan_tree(
    tree: Path, policy: Policy, now: datetime, share: float = 0.0, ended: Mapping[str, str] | None = None
) -> TreePlan:
    """Return the plan for the tree at `tree`; raise Refusal when its pins cannot be read, or OSError.

    `share`: how far the policy is tightened, because the disk is full; then no limit of a day holds.
    """
    before, after = ended or {}, dict(ended or {})
    verdicts: dict[Kind, list[Verdict]] = {}
    for kind in KINDS:
        stamps = datastore.snapshots(tree, kind.snapshots)
        pinned = pins.read(tree) if kind is DATASTORE else {}
        planned = _plan(tree / kind.snapshots, stamps, pinned, rotation_plan.tightened(policy, share), now)
        if not share:
            # What is recorded and still there was interrupted, and is planned again.
            gone = [name for name in before if _is_of(kind, name) and name.rpartition("/")[2] not in stamps]
            planned = rotation_plan.spread(planned, max(0, rotation_plan.MOST_DAYS_A_DAY - len(gone)))
        after.update({name_of(kind, stamp): now.strftime(FORM) for stamp in rotation_plan.ending(planned)})
        verdicts[kind] = planned
    return TreePlan(tree, verdicts, after)


def thinned(users: Path, trees: Collection[str], pressure: float) -> dict[str, float]:
    """Return {tree: how far its learner's policy is tightened} under the `pressure` of the disk.

    What a learner weighs is what the gate counted at the end of a session: all that lies in incoming directories and
    keepsakes. What a snapshot alone holds on btrfs only quota groups could tell, which make every removal crawl; but
    whoever has and changes much also has the larger history, so this is an honest stand-in, and costs one small file.
    """
    if not pressure:
        return dict.fromkeys(trees, 0.0)
    learners = Learners(accounts.read_all(users).accounts)
    learner = {tree: learners.learner_of(tree) for tree in trees}
    weights: dict[str, int] = {}
    for tree in trees:
        # Each of a learner's trees has the count of all of them, of the session that ended in it last.
        weights[learner[tree]] = max(weights.get(learner[tree], 0), allowance.bytes_of(users / tree))
    shares = rotation_plan.shares(weights, pressure)
    return {tree: shares[learner[tree]] for tree in trees}


def _is_of(kind: Kind, name: str) -> bool:
    return name == name_of(kind, name.rpartition("/")[2])


def _plan(directory: Path, stamps: list[str], pinned: Collection[str], policy: Policy, now: datetime) -> list[Verdict]:
    """Return the verdicts on `stamps` in `directory`; where the time of naming matters, by that as well.

    It is the change time of their directories, which no laptop sets. Only where it matters: on btrfs a look at a
    snapshot reads its root from the disk, and thirty thousand of them each night would wear it out.
    """
    named: dict[str, datetime] = {}
    while True:
        verdicts = rotation_plan.plan([Snapshot(stamp, named.get(stamp)) for stamp in stamps], pinned, policy, now)
        unknown = rotation_plan.in_question(verdicts, now) - named.keys()
        if not unknown:
            return verdicts
        for stamp in unknown:
            named[stamp] = datetime.fromtimestamp(os.stat(directory / stamp).st_ctime, UTC)
