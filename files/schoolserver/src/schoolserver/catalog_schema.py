# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of catalog.db (docs/architecture.md says which there are none of, and why)."""

from __future__ import annotations

import grp
import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

VERSION = 3
READERS = "xs-readers"
# What a rebuild first writes apart: one tree's rows.
ROWS = """
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
"""
_REST = """
-- Trees whose rows are missing, or may be old, until xs-catalog has read the disk; tries: how often it began to.
CREATE TABLE waiting (tree TEXT PRIMARY KEY, tries INTEGER NOT NULL) STRICT, WITHOUT ROWID;
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


def create(file: Path, waiting: Iterable[str]) -> None:
    """Make an empty catalog at `file`, in which all trees of `waiting` still wait; nobody sees it half made.

    Raise OSError, sqlite3.Error.
    """
    temporary = file.with_name(f"{file.name}.new")
    temporary.unlink(missing_ok=True)
    with closing(sqlite3.connect(temporary)) as database, database:
        # A rollback journal, not WAL: readers have no right to write beside the file (DESIGN.md section 3).
        database.executescript(f"PRAGMA journal_mode = DELETE; {ROWS} {_REST} PRAGMA user_version = {VERSION};")
        database.executemany("INSERT INTO waiting VALUES (?, 0)", ((tree,) for tree in waiting))
    temporary.chmod(0o640)
    with suppress(KeyError):  # a machine where the package is not installed: tests
        os.chown(temporary, 0, grp.getgrnam(READERS).gr_gid)
    file.with_name(f"{file.name}-journal").unlink(missing_ok=True)
    temporary.rename(file)
