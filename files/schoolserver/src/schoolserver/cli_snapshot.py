# SPDX-License-Identifier: GPL-3.0-or-later
"""`xs snapshot …`: which snapshots there are, taken now, kept or let go by a person."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from schoolserver import datastore, paths, pinning, pins, snapshot
from schoolserver.cli_laptop import print_table, who_am_i
from schoolserver.cli_restore import trees_of
from schoolserver.engines import DOCUMENTS
from schoolserver.house import House


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `xs snapshot` to `parser`."""
    verbs = parser.add_subparsers(required=True, metavar="verb")
    verb = verbs.add_parser("list", help="list the snapshots of a child's trees")
    verb.add_argument("laptop", help="a laptop of the child, or a tree such as SHC12345678.2")
    verb.add_argument("--json", action="store_true", help="for programs")
    verb.set_defaults(run=show_list)
    verb = verbs.add_parser("take", help="take what completed backups wait for, at once")
    verb.add_argument("laptop")
    verb.set_defaults(run=take)
    verb = verbs.add_parser("pin", help="keep a snapshot, whatever rotation does")
    verb.add_argument("tree")
    verb.add_argument("stamp")
    verb.add_argument("--why", default=pinning.PERSON, help="for those who come after you")
    verb.set_defaults(run=pin)
    verb = verbs.add_parser("unpin", help="let a snapshot go when its time comes")
    verb.add_argument("tree")
    verb.add_argument("stamp")
    verb.set_defaults(run=unpin)


def overview(at: Path) -> dict[str, Any]:
    """Return what there is of the tree `at`: snapshots with what pins them, the best one, the history of documents/."""
    taken, pinned = datastore.snapshots(at), pins.read(at)
    best, why = pins.best_of(taken, pinned)
    return {
        "tree": at.name,
        "snapshots": [
            {"stamp": stamp, "pinned": sorted(pinned[stamp].why) if stamp in pinned else []} for stamp in taken
        ],
        "best": best,
        "why": why,
        "documents_history": datastore.snapshots(at, DOCUMENTS.snapshots),
    }


def show_list(arguments: argparse.Namespace) -> None:
    """Print the snapshots of all trees of one learner."""
    found = [overview(paths.USERS / tree) for tree in trees_of(arguments.laptop)]
    if arguments.json:
        print(json.dumps({"trees": found}, indent=1))
        return
    rows = [("TREE", "SNAPSHOT", "PINNED", "")]
    for tree in found:
        for one in tree["snapshots"]:
            offered = "a restore offers this one" if one["stamp"] == tree["best"] else ""
            rows.append((tree["tree"], one["stamp"], ", ".join(one["pinned"]), offered))
    print_table(rows)


def take(arguments: argparse.Namespace) -> None:
    """Take what waits in the tree that the laptop writes."""
    tree = trees_of(arguments.laptop)[0]
    stamp = snapshot.take(paths.USERS / tree, datetime.now(UTC))
    print(f"{tree}: took {stamp}" if stamp else f"{tree}: no completed backup waits for its snapshot")


def pin(arguments: argparse.Namespace) -> None:
    """Pin one snapshot."""
    _told(pinning.pin(House(), arguments.tree, arguments.stamp, arguments.why, who_am_i()))


def unpin(arguments: argparse.Namespace) -> None:
    """Unpin one snapshot."""
    _told(pinning.unpin(House(), arguments.tree, arguments.stamp, who_am_i()))


def _told(change: pinning.Change) -> None:
    print(change.said if change.changed else f"{change.said}: nothing changed")
