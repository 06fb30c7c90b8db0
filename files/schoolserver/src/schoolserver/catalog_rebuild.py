# SPDX-License-Identifier: GPL-3.0-or-later
"""Listing in the catalog, tree by tree, what waits there: beside the services, which go on meanwhile.

Each tree's rows are made in a file of their own and take the place of the old ones in one transaction, which then
brings them up to date: a page sees all of a tree or what it saw before, and a snapshot waits for that moment only.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from schoolserver import catalog, catalog_schema, catalog_tree, datastore, paths
from schoolserver.alone import alone
from schoolserver.errors import Refusal

_ANOTHER = "the catalog is being made anew already: see `journalctl -u xs-catalog`"
Said = Callable[[int, int, str], object]  # is told: how many trees are done, of how many, and the name of the last


def rebuild(file: Path, users: Path, said: Said = lambda *_: None) -> list[str]:
    """Make every tree's rows in `file` anew from its disk; return the trees that could not be read, with the reason.

    What is interrupted goes on with the next start of xs-catalog. Raise Refusal while it is at work, OSError,
    sqlite3.Error.
    """
    with alone(_lock(file), _ANOTHER):

        def wait(database: sqlite3.Connection) -> None:
            on_disk = [(tree.name,) for tree in datastore.trees(users)]
            database.executemany("INSERT OR IGNORE INTO waiting VALUES (?, 0)", on_disk)
            for table in catalog_tree.TABLES:  # of trees as well that are on no disk any more
                database.execute(f"INSERT OR IGNORE INTO waiting SELECT DISTINCT tree, 0 FROM {table}")  # noqa: S608

        catalog.change(file, users, wait, check=True)
        return _list_waiting(file, users, said)


def list_waiting(file: Path, users: Path, said: Said = lambda *_: None) -> list[str]:
    """List what waits in `file`, after a look whether all of the file is sound; the rest as rebuild()."""
    with alone(_lock(file), _ANOTHER):
        catalog.requested(file).unlink(missing_ok=True)  # first: who asks from now on asks for another start
        catalog.change(file, users, lambda _: None, check=True)
        return _list_waiting(file, users, said)


def main() -> None:
    """List what waits, with a line in the journal for each tree."""
    os.umask(0o022)
    try:
        failed = list_waiting(paths.CATALOG, paths.USERS, _tell)
    except (Refusal, OSError, sqlite3.Error) as error:
        sys.exit(f"not all is listed: {error}")
    sys.exit("\n".join(failed) or 0)


def _tell(done: int, of: int, tree: str) -> None:
    print(f"{done} of {of} trees: {tree}", flush=True)


def _list_waiting(file: Path, users: Path, said: Said) -> list[str]:
    failed: dict[str, str] = {}
    # Twice: rotation may have taken a snapshot just as it was read.
    for _ in range(2):
        with closing(catalog.reading(file)) as database:
            names = catalog.waiting(database)
        failed = {}
        for number, name in enumerate(names, 1):
            try:
                _list(file, users / name)
            except OSError as error:  # the next run of that tree asks for it again; the others are listed now
                failed[name] = f"{name}: not listed: {error}"
            said(number, len(names), name)
    return list(failed.values())


def _list(file: Path, tree: Path) -> None:
    # Counted first: a tree that ends this process comes last the next time, and holds up no other.
    catalog.change(
        file, tree.parent, lambda each: each.execute("UPDATE waiting SET tries = tries + 1 WHERE tree = ?", [tree.name])
    )
    # "": a file of SQLite's own in its temporary directory; a hostile tree's rows need not fit into memory.
    with closing(sqlite3.connect("")) as apart:
        apart.executescript(f"PRAGMA journal_mode = OFF; {catalog_schema.ROWS}")
        if tree.is_dir():
            with apart:
                catalog_tree.update(apart, tree)

        def move(database: sqlite3.Connection) -> None:
            if not catalog.waiting(database, [tree.name]):
                return  # erased meanwhile: the next tree of that name would show these titles
            catalog_tree.move(apart, database, tree.name)
            if tree.is_dir():
                catalog_tree.update(database, tree)  # what happened to it since
            else:
                catalog_tree.forget_all(database, tree.name)
            database.execute("DELETE FROM waiting WHERE tree = ?", (tree.name,))

        catalog.change(file, tree.parent, move)


def _lock(file: Path) -> Path:
    return file.with_name(f"{file.name}.rebuilding")


if __name__ == "__main__":
    main()
