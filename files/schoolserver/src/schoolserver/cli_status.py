# SPDX-License-Identifier: GPL-3.0-or-later
"""`xs status`: what a technician should know of the school server, in one look."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from schoolserver import allowance, datastore, paths, pins, unreadable
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
class Unreadable:
    """A file of the newest backup that the disk did not give back when its snapshot was taken."""

    tree: str
    path: str  # in the tree
    stamp: str  # the snapshot that has it as the one before, or not at all


@dataclass(frozen=True)
class Status:
    """What there is to know."""

    disk_percent: int
    trees: int
    last_run: str | None  # the newest snapshot of all
    losses: list[Loss]
    damaged: list[str]  # one line for each tree whose pins cannot be read
    unreadable: list[Unreadable]


def look(users: Path) -> Status:
    """Return the status of the school server whose trees are below `users`; raise OSError."""
    losses, damaged, unread, newest = [], [], [], ""
    trees = datastore.trees(users)
    for tree in trees:
        newest = max([newest, *datastore.snapshots(tree)[-1:]])
        unread += [Unreadable(tree.name, path, stamp) for path, stamp in sorted(unreadable.read(tree).items())]
        try:
            losses += [
                Loss(tree.name, stamp, pin.documents, pin.since)
                for stamp, pin in sorted(pins.read(tree).items())
                if pins.BULK_LOSS in pin.why
            ]
        except Refusal as refusal:
            damaged.append(str(refusal))
    percent = round(allowance.used_percent(str(users)))
    return Status(percent, len(trees), newest or None, losses, damaged, unread)


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
    if status.unreadable:
        print("\nThe disk could not read these again; the laptops are asked to send them; look at the disk (dmesg):")
        print_table([("TREE", "FILE", "NOT IN"), *((one.tree, one.path, one.stamp) for one in status.unreadable)])
