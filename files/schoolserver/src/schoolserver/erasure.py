# SPDX-License-Identifier: GPL-3.0-or-later
"""Deleting a tree with every document in it: only ever done when a person says so in so many words (DESIGN.md, 6.2)."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from schoolserver import btrfs, catalog, copying, datastore, durable, engines, keepsakes, opening

_ERASED = ".erased-"  # what a tree is called from the moment on that it is no more; no reader looks at such names


def count(users: Path, trees: Iterable[str]) -> int:
    """Return how many documents the `trees` hold, in snapshots and keepsakes, each counted once; raise OSError.

    Where a laptop has made more than anybody counts, datastore.MOST_DOCUMENTS stands for them.
    """
    found: set[str] = set()
    least = 0
    for tree in trees:
        at = users / tree
        for stamp in datastore.snapshots(at):
            try:
                found |= datastore.entries(at / "datastore" / stamp).keys()
            except opening.TooMany:  # an attack must not keep its tree from being deleted
                least = datastore.MOST_DOCUMENTS
        found |= {uid for uid, _ in keepsakes.every(at)}
    return max(len(found), least)


def erase(users: Path, tree: str, catalog_file: Path) -> None:
    """Delete `tree` with all that is in it, and what the catalog says of it; raise OSError.

    It is gone for everybody once it has lost its name; sweep() goes on where a crash interrupted the rest.
    """
    gone = users / f"{_ERASED}{tree}"
    if gone.exists():  # an earlier one of that name, interrupted
        _delete(gone)
    try:  # first: a crash later on leaves nobody who would, and the next tree of that name would show these titles
        catalog.forget_tree(catalog_file, tree)
    except (OSError, sqlite3.Error) as error:  # derived: the next rebuild finds no such tree
        print(f"{tree}: the catalog is late: {error}", file=sys.stderr, flush=True)
    (users / tree).rename(gone)
    durable.sync_directory(users)
    _delete(gone)


def sweep(users: Path) -> None:
    """Finish what an interrupted erase() left; what still resists is named, and waits for the next time."""
    for left in users.glob(f"{_ERASED}*"):
        try:
            _delete(left)
        except OSError as error:
            print(f"{left} is not gone yet: {error}", file=sys.stderr, flush=True)


def _delete(tree: Path) -> None:
    engine = engines.of(tree)
    for kind in engines.KINDS:
        snapshots = [tree / kind.snapshots / stamp for stamp in _names(tree / kind.snapshots)]
        for place in (*snapshots, tree / kind.incoming):
            with suppress(OSError):  # a laptop that owned its rsync may have made subvolumes deep inside: it goes below
                engine.remove(place)
    try:
        copying.remove(tree)
    except OSError:
        if not btrfs.is_btrfs(tree):
            raise
        btrfs.make_all_writable(tree)  # whoever made a subvolume may have made it read-only, wherever it is
        copying.remove(tree)


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
