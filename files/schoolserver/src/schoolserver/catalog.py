# SPDX-License-Identifier: GPL-3.0-or-later
"""catalog.db: which versions of which documents there are, and where each can be read. Derived from the disk alone.

A version is a run of neighbouring copies (in snapshots, then in keepsakes) with one fingerprint: `first` and `last` are
the stamps of the oldest and the newest copy that still exist. So every row points to a living copy, and a rebuild
gives the same rows.
"""

from __future__ import annotations

import fcntl
import grp
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from schoolserver import datastore, engines, entries, keepsakes, opening, paths
from schoolserver.entries import Document, Entry

SCHEMA = 2
READERS = "xs-readers"
# A rollback journal, not WAL: readers have no right to write beside the file (DESIGN.md section 3).
TABLES = """
PRAGMA journal_mode = DELETE;
-- whole: every document of it is listed, so that the next one can be listed by what differs.
CREATE TABLE snapshots (tree TEXT, stamp TEXT, whole INTEGER, PRIMARY KEY (tree, stamp)) STRICT, WITHOUT ROWID;
CREATE TABLE keepsakes (tree TEXT, uid TEXT, stamp TEXT, PRIMARY KEY (tree, uid, stamp)) STRICT, WITHOUT ROWID;
CREATE TABLE versions (
    tree TEXT, uid TEXT, first TEXT, last TEXT, fingerprint TEXT,
    title TEXT, activity TEXT, mime_type TEXT, size INTEGER, timestamp INTEGER, preview INTEGER, damaged TEXT,
    tags TEXT,
    PRIMARY KEY (tree, uid, first)
) STRICT;
CREATE INDEX versions_by_last ON versions (tree, last);
CREATE INDEX versions_damaged ON versions (tree, uid) WHERE damaged <> '';
-- What search.py matches. Trigrams, because Thai and Chinese put no spaces between words. It holds no text of its own,
-- and knows a version by its rowid: nothing may VACUUM this file.
CREATE VIRTUAL TABLE words USING fts5(title, tags, activity, content = 'versions', tokenize = 'trigram');
CREATE TRIGGER words_come AFTER INSERT ON versions BEGIN
    INSERT INTO words (rowid, title, tags, activity) VALUES (new.rowid, new.title, new.tags, new.activity);
END;
CREATE TRIGGER words_go AFTER DELETE ON versions BEGIN
    INSERT INTO words (words, rowid, title, tags, activity)
        VALUES ('delete', old.rowid, old.title, old.tags, old.activity);
END;
-- What timeline.py reads. in_snapshot: the newest that holds this version, null where only a keepsake does; gone: the
-- document is not in its tree's newest snapshot; newest: no version of the document is newer.
CREATE VIEW listed AS SELECT *,
    (SELECT max(stamp) FROM snapshots AS held WHERE held.tree = versions.tree
        AND held.stamp BETWEEN versions.first AND versions.last) AS in_snapshot,
    NOT EXISTS (SELECT 1 FROM versions AS held WHERE held.tree = versions.tree AND held.uid = versions.uid
        AND held.last = (SELECT max(stamp) FROM snapshots WHERE snapshots.tree = versions.tree)) AS gone,
    NOT EXISTS (SELECT 1 FROM versions AS later WHERE later.tree = versions.tree AND later.uid = versions.uid
        AND later.first > versions.first) AS newest
    FROM versions;
"""


def update(file: Path, tree: Path) -> None:
    """Bring `file` up to date with the tree at `tree`; raise OSError or sqlite3.Error.

    A catalog that is missing, damaged or of another schema is set aside and rebuilt from all trees beside this one.
    """
    _change(file, tree.parent, lambda database: _update(database, tree))


def make_ready(file: Path, users: Path) -> None:
    """Undo what a crash left half-written, which readers may not do for themselves; rebuild what cannot be read."""
    _change(file, users, lambda database: _known(database, ""))


def rebuild(file: Path, users: Path) -> None:
    """Make `file` anew from the trees in `users`; readers see the old one until the new one is whole."""
    with _lock(file):
        temporary = file.with_name(f"{file.name}.new")
        temporary.unlink(missing_ok=True)
        _create(temporary)
        with closing(sqlite3.connect(temporary)) as database:
            for tree in datastore.trees(users):
                try:
                    with database:
                        _update(database, tree)
                except OSError as error:  # the next run of that tree tries again; the others are listed now
                    print(f"{tree.name}: not listed: {error}", file=sys.stderr, flush=True)
        if file.exists():
            file.replace(file.with_name(f"{file.name}.aside"))
        file.with_name(f"{file.name}-journal").unlink(missing_ok=True)
        temporary.rename(file)


def forget(file: Path, tree: Path, stamp: str) -> None:
    """Take the snapshot `stamp` of `tree` out of the catalog, with the versions that nothing else holds."""
    with _writing(file) as database:
        _forget(database, tree.name, stamp)


def forget_tree(file: Path, tree: str) -> None:
    """Take all of `tree` out of the catalog; what is not there is no error."""
    if not file.exists():
        return
    with _writing(file) as database:
        for table in ("versions", "snapshots", "keepsakes"):
            database.execute(f"DELETE FROM {table} WHERE tree = ?", (tree,))  # noqa: S608  our own names


def reading(file: Path = paths.CATALOG) -> sqlite3.Connection:
    """Return a read-only connection with named columns; raise sqlite3.Error when there is no catalog."""
    database = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)
    database.row_factory = sqlite3.Row
    return database


def damaged(database: sqlite3.Connection) -> list[sqlite3.Row]:
    """Return (tree, uid, first, last, damaged) of every version with something wrong, what is wrong in `damaged`."""
    query = "SELECT tree, uid, first, last, damaged FROM versions WHERE damaged <> '' ORDER BY tree, uid, first"
    return database.execute(query).fetchall()


Point = tuple[str, str | None]


def runs(points: Iterable[Point]) -> list[tuple[str, str, str]]:
    """Given one document's (stamp, fingerprint or None for absent) in order, return its versions.

    Each is (fingerprint, first, last). A copy that is absent in between ends a version.
    """
    found: list[tuple[str, str, str]] = []
    before: str | None = None
    for stamp, fingerprint in points:
        if fingerprint is not None:
            if fingerprint == before:
                found[-1] = (fingerprint, found[-1][1], stamp)
            else:
                found.append((fingerprint, stamp, stamp))
        before = fingerprint
    return found


def _update(database: sqlite3.Connection, tree: Path) -> None:
    on_disk = datastore.snapshots(tree)
    known = _known(database, tree.name)
    if (known and known[-1] > max(on_disk, default="")) or set(on_disk) - set(known) - _newer(on_disk, known):
        # A snapshot turned up between known ones, or the newest is gone: not what this server does. Start over.
        database.execute("DELETE FROM versions WHERE tree = ?", (tree.name,))
        database.execute("DELETE FROM snapshots WHERE tree = ?", (tree.name,))
        known = []
    for stamp in sorted(set(known) - set(on_disk)):
        _forget(database, tree.name, stamp)
    kept = list(keepsakes.every(tree))
    before = database.execute("SELECT uid, stamp FROM keepsakes WHERE tree = ?", (tree.name,)).fetchall()
    database.execute("DELETE FROM keepsakes WHERE tree = ?", (tree.name,))
    database.executemany("INSERT INTO keepsakes VALUES (?, ?, ?)", ((tree.name, uid, stamp) for uid, stamp in kept))
    for uid in sorted({uid for uid, _ in set(before) - set(kept)}):  # a person had them removed
        _rewrite(database, tree.name, uid, _known(database, tree.name))
    newest = known[-1] if known else ""
    # Only of a rebuild: copies from before the oldest snapshot, or from between two that are left.
    orphans = [(stamp, uid) for uid, stamp in kept if not known and stamp not in on_disk]
    for stamp, uid in sorted([*orphans, *((stamp, "") for stamp in on_disk if stamp > newest)]):
        if uid:
            with datastore.entry_at(tree / keepsakes.DIRECTORY / uid / stamp) as entry:
                _see(database, tree.name, uid, stamp, entry)
        else:
            _add_snapshot(database, tree, stamp)


def _add_snapshot(database: sqlite3.Connection, tree: Path, stamp: str) -> None:
    snapshot = tree / "datastore" / stamp
    whole = 1
    try:
        uids = _continue(database, tree, stamp)
        if uids is None:
            uids = sorted(datastore.entries(snapshot))
    except opening.TooMany as error:
        print(f"{tree.name}: {stamp}: its documents are not listed: {error}", file=sys.stderr, flush=True)
        uids, whole = [], 0
    for uid in uids:
        try:
            with datastore.entry_in(snapshot, uid) as entry:
                _see(database, tree.name, uid, stamp, entry)
        except OSError as error:
            print(f"{tree.name}: {stamp}: {uid} cannot be read: {error}", file=sys.stderr, flush=True)
            whole = 0
    database.execute("INSERT INTO snapshots VALUES (?, ?, ?)", (tree.name, stamp, whole))


def _continue(database: sqlite3.Connection, tree: Path, stamp: str) -> list[str] | None:
    """Let the versions that the snapshot shares with the one before last until it; return the uids left to look at.

    None: all of them, and nothing was done.
    """
    query = "SELECT stamp, whole FROM snapshots WHERE tree = ? ORDER BY stamp DESC LIMIT 1"
    previous = database.execute(query, (tree.name,)).fetchone()
    if previous is None or not previous[1]:
        return None
    old, new = tree / "datastore" / previous[0], tree / "datastore" / stamp
    try:
        paths_changed = engines.of(new).changed(old, new)
        uids = None if paths_changed is None else datastore.touched(old, new, paths_changed)
        if uids is None:
            return None
        found = sorted(datastore.entries_of(new, uids))
    except OSError as error:
        print(f"{tree.name}: {stamp}: compared as a whole: {error}", file=sys.stderr, flush=True)
        return None
    held = database.execute(
        "SELECT count(*) FROM versions WHERE tree = ? AND last = ?", (tree.name, previous[0])
    ).fetchone()[0]  # fmt: skip
    if held + len(found) > datastore.MOST_DOCUMENTS:
        return None  # entries() counts exactly
    database.execute(
        "UPDATE versions SET last = ? WHERE tree = ? AND last = ? AND uid NOT IN (SELECT value FROM json_each(?))",
        (stamp, tree.name, previous[0], json.dumps(sorted(uids))),
    )
    return found


def _open_version(database: sqlite3.Connection, tree: str, uid: str) -> tuple[str, str] | None:
    """Return (first, fingerprint) of the version that the next copy may continue: none was absent since."""
    row = database.execute(
        "SELECT first, fingerprint, last FROM versions WHERE tree = ? AND uid = ? ORDER BY first DESC LIMIT 1",
        (tree, uid),
    ).fetchone()
    newest = database.execute("SELECT max(stamp) FROM snapshots WHERE tree = ?", (tree,)).fetchone()[0]
    return (row[0], row[1]) if row and row[2] >= (newest or "") else None


def _see(database: sqlite3.Connection, tree: str, uid: str, stamp: str, entry: Entry) -> None:
    version, fingerprint = _open_version(database, tree, uid), entries.fingerprint(entry)
    if version and version[1] == fingerprint:
        key = (stamp, tree, uid, version[0])
        database.execute("UPDATE versions SET last = ? WHERE tree = ? AND uid = ? AND first = ?", key)
        return
    _insert(database, (tree, uid, stamp, stamp, fingerprint), entries.describe(entry))


def _insert(database: sqlite3.Connection, key: tuple[str, ...], said: Document) -> None:
    texts = (said.title, said.activity, said.mime_type)
    rest = (*texts, said.size, said.timestamp, int(said.preview), said.damaged, said.tags)
    database.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*key, *rest))


def _forget(database: sqlite3.Connection, tree: str, stamp: str) -> None:
    stamps = _known(database, tree)
    if stamp not in stamps:
        return
    place = stamps.index(stamp)
    before, after = stamps[:place][-1:] or [""], stamps[place + 1 : place + 2] or ["~"]
    # Only versions that begin or end next to the one removed can change: the others have it in their midst, or are far.
    affected = database.execute(
        "SELECT DISTINCT uid FROM versions WHERE tree = ? AND (first BETWEEN ? AND ? OR last BETWEEN ? AND ?)",
        (tree, stamp, after[0], before[0], stamp),
    ).fetchall()
    database.execute("DELETE FROM snapshots WHERE tree = ? AND stamp = ?", (tree, stamp))
    stamps.remove(stamp)
    for (uid,) in affected:
        _rewrite(database, tree, uid, stamps)


def _rewrite(database: sqlite3.Connection, tree: str, uid: str, stamps: list[str]) -> None:
    rows = database.execute(
        "SELECT * FROM versions WHERE tree = ? AND uid = ? ORDER BY first", (tree, uid)
    ).fetchall()  # fmt: skip
    kept = {
        stamp
        for (stamp,) in database.execute("SELECT stamp FROM keepsakes WHERE tree = ? AND uid = ?", (tree, uid))
    }  # fmt: skip

    def row_at(stamp: str) -> tuple[str, ...] | None:
        return next((row for row in rows if row[2] <= stamp <= row[3]), None)

    points = [(stamp, row_at(stamp)) for stamp in sorted(kept | set(stamps))]
    wanted = runs((stamp, row[4] if row else None) for stamp, row in points)
    if wanted == [(row[4], row[2], row[3]) for row in rows]:
        return
    database.execute("DELETE FROM versions WHERE tree = ? AND uid = ?", (tree, uid))
    for fingerprint, first, last in wanted:
        said = row_at(first)
        assert said is not None
        database.execute(
            "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (tree, uid, first, last, fingerprint, *said[5:]),
        )


def _known(database: sqlite3.Connection, tree: str) -> list[str]:
    query = "SELECT stamp FROM snapshots WHERE tree = ? ORDER BY stamp"
    return [stamp for (stamp,) in database.execute(query, (tree,))]


def _newer(on_disk: list[str], known: list[str]) -> set[str]:
    return {stamp for stamp in on_disk if not known or stamp > known[-1]}


def _create(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.executescript(f"{TABLES} PRAGMA user_version = {SCHEMA};")
    file.chmod(0o640)
    with suppress(KeyError):  # a machine where the package is not installed: tests
        os.chown(file, 0, grp.getgrnam(READERS).gr_gid)


def _change(file: Path, users: Path, change: Callable[[sqlite3.Connection], object]) -> None:
    try:
        if not file.exists():
            raise sqlite3.DatabaseError("there was none")
        with _writing(file) as database:
            change(database)
    except sqlite3.OperationalError:
        raise  # locked, or no space left: the file itself is sound
    except sqlite3.DatabaseError as error:
        print(f"{file}: made anew: {error}", file=sys.stderr, flush=True)
        rebuild(file, users)


@contextmanager
def _writing(file: Path) -> Iterator[sqlite3.Connection]:
    with _lock(file), closing(sqlite3.connect(file, timeout=10)) as database, database:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA:
            raise sqlite3.DatabaseError(f"its schema is {version}, not {SCHEMA}")
        yield database


@contextmanager
def _lock(file: Path) -> Iterator[None]:
    # Snapshots and rotation both write, and a rebuild replaces the file under a writer that would go on in the old one.
    with file.with_name(f"{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
