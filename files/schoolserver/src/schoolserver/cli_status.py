# SPDX-License-Identifier: GPL-3.0-or-later
"""`xs status`: what a technician should know of the school server, in one look."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from schoolserver import allowance, datastore, paths, pins
from schoolserver.cli_laptop import print_table
from schoolserver.errors import Refusal


@dataclass(frozen=True)
class Loss:
    """More than half of a Journal was gone after `stamp`, which is pinned until it is back or a person lets it go."""

    tree: str
    stamp: str
    documents: int  # that left
    since: str  # the stamp of the run that found it


@dataclass(frozen=True)
class Status:
    """What there is to know."""

    disk_percent: int
    trees: int
    last_run: str | None  # the newest snapshot of all
    losses: list[Loss]
    damaged: list[str]  # one line for each tree whose pins cannot be read


def look(users: Path) -> Status:
    """Return the status of the school server whose trees are below `users`; raise OSError."""
    losses, damaged, newest = [], [], ""
    trees = datastore.trees(users)
    for tree in trees:
        newest = max([newest, *datastore.snapshots(tree)[-1:]])
        try:
            losses += [
                Loss(tree.name, stamp, pin.documents, pin.since)
                for stamp, pin in sorted(pins.read(tree).items())
                if pins.BULK_LOSS in pin.why
            ]
        except Refusal as refusal:
            damaged.append(str(refusal))
    return Status(round(allowance.used_percent(str(users))), len(trees), newest or None, losses, damaged)


def add_words(verb: argparse.ArgumentParser) -> None:
    """Add the words of `xs status` to `verb`."""
    verb.add_argument("--json", action="store_true", help="for programs")
    verb.set_defaults(run=show)


def show(arguments: argparse.Namespace) -> None:
    """Print the status."""
    status = look(paths.USERS)
    if arguments.json:
        print(json.dumps(asdict(status), indent=1))
        return
    print(
        f"{status.trees} trees, the last backup {status.last_run or 'none yet'}, the disk {status.disk_percent} % full"
    )
    for line in status.damaged:
        print(line)
    if status.losses:
        print("\nMost of the Journal was gone; a restore offers what was before (xs restore, xs snapshot unpin):")
        rows = [("TREE", "BEFORE", "DOCUMENTS GONE", "SEEN")]
        print_table([*rows, *((loss.tree, loss.stamp, str(loss.documents), loss.since) for loss in status.losses)])
