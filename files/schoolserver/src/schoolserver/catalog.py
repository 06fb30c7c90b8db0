# SPDX-License-Identifier: GPL-3.0-or-later
"""catalog.db: which versions of which documents there are, and where each can be read. Derived from the disk alone.

One that is missing, damaged or of another schema is set aside at once, and an empty one takes its place, in which every
tree waits: xs-catalog lists them one by one (catalog_rebuild.py) while backups and snapshots go on. What happens to a
tree that waits is on the disk, and read from there when its turn comes: no update is lost, and none is done twice.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from schoolserver import catalog_schema, catalog_tree, datastore, paths

_PATIENCE = 60  # seconds that a writer waits for readers: xs-catalog reads all of the file to see whether it is sound
_DAMAGE = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
)


class Damage(sqlite3.DatabaseError):
    """The file is no catalog of this version."""


def update(file: Path, tree: Path) -> None:
    """Bring `file` up to date with the tree at `tree`; raise OSError or sqlite3.Error."""

    def bring(database: sqlite3.Connection) -> None:
        if waiting(database, [tree.name]):
            ask(file)  # again: xs-catalog may have failed at it
        else:
            catalog_tree.update(database, tree)

    change(file, tree.parent, bring, listed=tree.name)


def make_ready(file: Path, users: Path) -> None:
    """Undo what a crash left half-written, which readers may not do for themselves; set aside what cannot be read."""
    change(file, users, lambda database: catalog_tree.known(database, ""))


def forget(file: Path, tree: Path, stamp: str) -> None:
    """Take the snapshot `stamp` of `tree` out of the catalog, with the versions that nothing else holds."""
    change(file, tree.parent, lambda database: catalog_tree.forget(database, tree.name, stamp))


def forget_tree(file: Path, tree: str) -> None:
    """Take all of `tree` out of the catalog; what is not there is no error."""
    if not file.exists():
        return
    with _locked(file), _opened(file) as database:
        catalog_tree.forget_all(database, tree)
        database.execute("DELETE FROM waiting WHERE tree = ?", (tree,))
    _aside(file).unlink(missing_ok=True)  # it may tell of this tree as well


def reading(file: Path = paths.CATALOG, patience: float = 5) -> sqlite3.Connection:
    """Return a read-only connection with named columns; raise sqlite3.Error when there is no catalog.

    It waits for a writer for `patience` seconds.
    """
    database = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=patience)
    database.row_factory = sqlite3.Row
    return database


def damaged(database: sqlite3.Connection) -> list[sqlite3.Row]:
    """Return (tree, uid, first, last, damaged) of every version with something wrong, what is wrong in `damaged`."""
    query = "SELECT tree, uid, first, last, damaged FROM versions WHERE damaged <> '' ORDER BY tree, uid, first"
    return database.execute(query).fetchall()


def held_by(database: sqlite3.Connection, tree: str, stamps: Collection[str]) -> int:
    """Return how many bytes of documents' data the snapshots `stamps` of `tree` hold, and no keepsake nor its newest.

    It is what comes back at most when they go: others before the newest may hold some of it.
    """
    query = """
        SELECT coalesce(sum(size), 0) FROM versions
        WHERE tree = ?1 AND last < (SELECT max(stamp) FROM snapshots WHERE tree = ?1)
            AND EXISTS (SELECT 1 FROM json_each(?2) WHERE value BETWEEN first AND last)
            AND NOT EXISTS (SELECT 1 FROM keepsakes AS kept
                WHERE kept.tree = versions.tree AND kept.uid = versions.uid AND kept.stamp BETWEEN first AND last)
    """
    return int(database.execute(query, (tree, json.dumps(list(stamps)))).fetchone()[0])


def waiting(database: sqlite3.Connection, trees: list[str] | None = None) -> list[str]:
    """Return which of `trees`, of all if None, are not listed yet, those first that were tried least."""
    query = "SELECT tree FROM waiting WHERE ? IS NULL OR tree IN (SELECT value FROM json_each(?)) ORDER BY tries, tree"
    asked = None if trees is None else json.dumps(trees)
    return [tree for (tree,) in database.execute(query, (asked, asked))]


def change(
    file: Path, users: Path, do: Callable[[sqlite3.Connection], object], listed: str | None = None, check: bool = False
) -> None:
    """Do `do(database)` in one transaction, alone; raise OSError, sqlite3.Error.

    Before, make the file if it is missing: all trees of `users` wait in it but `listed`, for which `do` cares. One that
    turns out to be damaged, with `check` by reading all of it, is set aside: that is no error.
    """
    with _locked(file):
        if not file.exists():
            _begin(file, users, listed)
        try:
            if check:
                _check(file)
            with _opened(file) as database:
                do(database)
        except sqlite3.DatabaseError as error:
            # Locked, or no space left: then the file itself is sound.
            if not isinstance(error, Damage) and getattr(error, "sqlite_errorcode", None) not in _DAMAGE:
                raise
            print(f"{file}: set aside, its trees are listed anew: {error}", file=sys.stderr, flush=True)
            file.replace(_aside(file))
            _begin(file, users, None)


def ask(file: Path) -> None:
    """Have xs-catalog started: xs-catalog.path looks for this."""
    requested(file).touch()


def requested(file: Path) -> Path:
    """Return what stands beside `file` when xs-catalog is to list what waits."""
    return file.with_name(f"{file.name}.waiting")


def _aside(file: Path) -> Path:
    return file.with_name(f"{file.name}.aside")


def _begin(file: Path, users: Path, listed: str | None) -> None:
    # A tree without a snapshot has nothing to list: its first run finds it ready.
    trees = [tree.name for tree in datastore.trees(users) if tree.name != listed and datastore.snapshots(tree)]
    catalog_schema.create(file, trees)
    if trees:
        ask(file)


def _check(file: Path) -> None:
    with closing(sqlite3.connect(file, timeout=_PATIENCE)) as database:
        said = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise Damage(str(said))


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file, timeout=_PATIENCE)) as database, database:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version != catalog_schema.VERSION:
            raise Damage(f"its schema is {version}, not {catalog_schema.VERSION}")
        yield database


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    # Snapshots, rotation and xs-catalog write, and one that is set aside must not be written to any more.
    with file.with_name(f"{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
