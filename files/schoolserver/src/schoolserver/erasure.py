# SPDX-License-Identifier: GPL-3.0-or-later
"""Deleting a tree with every document in it: only ever done when a person says so in so many words (DESIGN.md, 6.2)."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path

from schoolserver import btrfs, catalog, datastore, durable, keepsakes
from schoolserver.trees import CACHES

_ERASED = ".erased-"  # what a tree is called from the moment on that it is no more; no reader looks at such names


def count(users: Path, trees: Iterable[str]) -> int:
    """Return how many documents the `trees` hold, in snapshots and keepsakes, each counted once; raise OSError."""
    found: set[str] = set()
    for tree in trees:
        at = users / tree
        for stamp in datastore.snapshots(at):
            found |= datastore.entries(at / "datastore" / stamp).keys()
        found |= {uid for uid, _ in keepsakes.every(at)}
    return len(found)


def erase(users: Path, tree: str, catalog_file: Path) -> None:
    """Delete `tree` with all that is in it, and what the catalog says of it; raise OSError.

    It is gone for everybody with the first step; sweep() goes on where a crash interrupted the rest.
    """
    gone = users / f"{_ERASED}{tree}"
    (users / tree).rename(gone)
    durable.sync_directory(users)
    try:
        catalog.forget_tree(catalog_file, tree)
    except (OSError, sqlite3.Error) as error:  # derived: the next rebuild finds no such tree
        print(f"{tree}: the catalog is late: {error}", file=sys.stderr, flush=True)
    _delete(gone)


def sweep(users: Path) -> None:
    """Finish what an interrupted erase() left; raise OSError."""
    for left in users.glob(f"{_ERASED}*"):
        _delete(left)


def _delete(tree: Path) -> None:
    places = [tree / "datastore-current" / name for name in CACHES]
    places += [tree / "datastore-current", *_below(tree / "datastore"), *_below(tree / "documents-history")]
    for place in places:
        if btrfs.is_subvolume(place):
            btrfs.delete_subvolume(place)
    shutil.rmtree(tree)


def _below(directory: Path) -> list[Path]:
    try:
        return [directory / name for name in os.listdir(directory)]
    except FileNotFoundError:
        return []
