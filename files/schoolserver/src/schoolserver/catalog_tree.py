# SPDX-License-Identifier: GPL-3.0-or-later
"""One tree's rows in the catalog: brought up to date by what differs between neighbouring snapshots.

A version is a run of neighbouring copies (in snapshots, then in keepsakes) with one fingerprint: `first` and `last` are
the stamps of the oldest and the newest copy that still exist. So every row points to a living copy, and a rebuild
gives the same rows.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path

from schoolserver import datastore, engines, entries, keepsakes, opening
from schoolserver.entries import Document, Entry

TABLES = ("versions", "snapshots", "keepsakes")
Point = tuple[str, str | None]


def update(database: sqlite3.Connection, tree: Path) -> None:
    """Make the rows of the tree at `tree` what its disk says; raise OSError, sqlite3.Error."""
    on_disk = datastore.snapshots(tree)
    listed = known(database, tree.name)
    if (listed and listed[-1] > max(on_disk, default="")) or set(on_disk) - set(listed) - _newer(on_disk, listed):
        # A snapshot turned up between listed ones, or the newest is gone: not what this server does. Start over.
        database.execute("DELETE FROM versions WHERE tree = ?", (tree.name,))
        database.execute("DELETE FROM snapshots WHERE tree = ?", (tree.name,))
        listed = []
    for stamp in sorted(set(listed) - set(on_disk)):
        forget(database, tree.name, stamp)
    kept = set(keepsakes.every(tree))
    before = set(database.execute("SELECT uid, stamp FROM keepsakes WHERE tree = ?", (tree.name,)))
    gone, come = sorted(before - kept), sorted(kept - before)
    query = "DELETE FROM keepsakes WHERE tree = ? AND uid = ? AND stamp = ?"
    database.executemany(query, ((tree.name, *one) for one in gone))
    database.executemany("INSERT INTO keepsakes VALUES (?, ?, ?)", ((tree.name, *one) for one in come))
    for uid in sorted({uid for uid, _ in gone}):  # a person had them removed
        _rewrite(database, tree.name, uid, known(database, tree.name))
    newest = listed[-1] if listed else ""
    # Only of a rebuild: copies from before the oldest snapshot, or from between two that are left.
    orphans = [(stamp, uid) for uid, stamp in kept if not listed and stamp not in on_disk]
    for stamp, uid in sorted([*orphans, *((stamp, "") for stamp in on_disk if stamp > newest)]):
        if uid:
            with datastore.entry_at(tree / keepsakes.DIRECTORY / uid / stamp) as entry:
                _see(database, tree.name, uid, stamp, entry)
        else:
            _add_snapshot(database, tree, stamp)


def forget(database: sqlite3.Connection, tree: str, stamp: str) -> None:
    """Take the snapshot `stamp` of `tree` out, with the versions that nothing else holds."""
    stamps = known(database, tree)
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


def forget_all(database: sqlite3.Connection, tree: str) -> None:
    """Take all of `tree` out; what is not there is no error."""
    for table in TABLES:
        database.execute(f"DELETE FROM {table} WHERE tree = ?", (tree,))  # noqa: S608  our own names


def move(source: sqlite3.Connection, database: sqlite3.Connection, tree: str) -> None:
    """Put the rows of `tree` that `source` has in the place of those that `database` has."""
    forget_all(database, tree)
    for table in TABLES:
        rows = source.execute(f"SELECT * FROM {table} WHERE tree = ?", (tree,))  # noqa: S608  our own names
        places = ", ".join("?" * len(rows.description))
        database.executemany(f"INSERT INTO {table} VALUES ({places})", rows)  # noqa: S608


def known(database: sqlite3.Connection, tree: str) -> list[str]:
    """Return the stamps of the snapshots of `tree` that the catalog knows, oldest first."""
    query = "SELECT stamp FROM snapshots WHERE tree = ? ORDER BY stamp"
    return [stamp for (stamp,) in database.execute(query, (tree,))]


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


def _rewrite(database: sqlite3.Connection, tree: str, uid: str, stamps: list[str]) -> None:
    """Have the versions of the document begin and end at copies that there are; those without one go."""
    query = "SELECT rowid, first, last, fingerprint FROM versions WHERE tree = ? AND uid = ? ORDER BY first"
    rows = database.execute(query, (tree, uid)).fetchall()
    query = "SELECT stamp FROM keepsakes WHERE tree = ? AND uid = ?"
    kept = {stamp for (stamp,) in database.execute(query, (tree, uid))}

    def row_at(stamp: str) -> tuple[int, str, str, str] | None:
        return next((row for row in rows if row[1] <= stamp <= row[2]), None)

    points = [(stamp, row_at(stamp)) for stamp in sorted(kept | set(stamps))]
    wanted: dict[int, tuple[str, str]] = {}
    for _, first, last in runs((stamp, row[3] if row else None) for stamp, row in points):
        row = row_at(first)
        assert row is not None
        wanted[row[0]] = (first, last)
    database.executemany("DELETE FROM versions WHERE rowid = ?", ((row[0],) for row in rows if row[0] not in wanted))
    # In place: its words stay in the index, which would be most of the work.
    changed = ((*wanted[row[0]], row[0]) for row in rows if row[0] in wanted and wanted[row[0]] != row[1:3])
    database.executemany("UPDATE versions SET first = ?, last = ? WHERE rowid = ?", changed)


def _newer(on_disk: list[str], known: list[str]) -> set[str]:
    return {stamp for stamp in on_disk if not known or stamp > known[-1]}
