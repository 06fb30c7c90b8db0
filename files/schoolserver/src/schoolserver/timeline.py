# SPDX-License-Identifier: GPL-3.0-or-later
"""What a learner's page and gate ask of the catalog: one timeline over all trees of the learner, and how much it is."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schoolserver import datastore, keepsakes
from schoolserver.entries import Document, Entry

MOST_HELD = 1000  # snapshots of a tree, what one line of a local socket has room for


@dataclass(frozen=True)
class Version:
    """One version of a document, and where its newest copy lies."""

    tree: str
    uid: str
    first: str  # stamps of the oldest and of the newest copy
    last: str
    said: Document
    gone: bool  # the document is not in its tree's newest snapshot
    in_snapshot: str | None  # the newest snapshot that holds it; None: only a keepsake does

    @property
    def since(self) -> str:
        """The stamp under which a page lists its document: when it came as it is, or when it was last seen."""
        return self.last if self.gone else self.first


# A document that a replaced laptop got back lies in two trees: where it was seen last is how it is now. Only keys are
# gone over and sorted; the rest is looked up for the page that is asked for.
_DOCUMENTS = """
    SELECT tree, uid, first, timestamp, CASE WHEN gone THEN last ELSE first END AS since FROM (
        SELECT tree, uid, first, last, timestamp, last < coalesce(
            (SELECT max(stamp) FROM snapshots WHERE snapshots.tree = own.tree), '~') AS gone
        FROM (
            SELECT tree, uid, first, last, timestamp,
                row_number() OVER (PARTITION BY uid ORDER BY last DESC, tree) AS place
            FROM versions WHERE tree IN (SELECT value FROM json_each(?))
        ) AS own WHERE place = 1
    ) WHERE gone >= ?
"""


def documents(database: sqlite3.Connection, trees: list[str], start: int, most: int, gone: bool) -> list[Version]:
    """Return the newest version of each document, by `since`, latest first: at most `most` from place `start`.

    With `gone`, only of those that left the Journal. The order is the server's clock: laptops' are often wrong.
    """
    query = f"""
        SELECT listed.* FROM ({_DOCUMENTS} ORDER BY since DESC, timestamp DESC, uid LIMIT ? OFFSET ?) AS page
        JOIN listed USING (tree, uid, first) ORDER BY page.since DESC, page.timestamp DESC, page.uid
    """  # noqa: S608  our own text
    return [version_of(row) for row in database.execute(query, (json.dumps(trees), gone, most, start))]


def count(database: sqlite3.Connection, trees: list[str], gone: bool) -> int:
    """Return how many documents() there are in all."""
    query = f"SELECT count(*) FROM ({_DOCUMENTS})"  # noqa: S608  our own text
    return int(database.execute(query, (json.dumps(trees), gone)).fetchone()[0])


def versions(database: sqlite3.Connection, trees: list[str], uid: str) -> list[Version]:
    """Return all versions of the document, newest first; empty when the trees never held it.

    A version that lies in two trees, on a laptop and on the one that took its place, is one: the newer copy.
    """
    query = "SELECT * FROM listed WHERE tree IN (SELECT value FROM json_each(?)) AND uid = ? ORDER BY last DESC, tree"
    newest: dict[str, str] = {}  # fingerprint -> the tree with its newest copy
    rows = list(database.execute(query, (json.dumps(trees), uid)))
    return [version_of(row) for row in rows if newest.setdefault(row["fingerprint"], row["tree"]) == row["tree"]]


def held(database: sqlite3.Connection, tree: str) -> dict[str, tuple[int, int]]:
    """Return {stamp: (documents, bytes of their data)} of the newest MOST_HELD snapshots of `tree`.

    Those of which not every document is listed are left out.
    """
    query = "SELECT stamp FROM snapshots WHERE tree = ? AND whole ORDER BY stamp DESC LIMIT ?"
    stamps = {stamp for (stamp,) in database.execute(query, (tree, MOST_HELD))}
    # Versions are many and snapshots too: each version is looked at once, where it begins and behind its end.
    query = "SELECT first, last, count(*), sum(size) FROM versions WHERE tree = ? GROUP BY first, last"
    steps: dict[str, list[tuple[int, int]]] = {stamp: [] for stamp in stamps}
    for first, last, documents, size in database.execute(query, (tree,)):
        steps.setdefault(first, []).append((documents, size))
        steps.setdefault(f"{last}~", []).append((-documents, -size))
    found, documents, size = {}, 0, 0
    for at, changes in sorted(steps.items()):
        documents += sum(change for change, _ in changes)
        size += sum(change for _, change in changes)
        if at in stamps:
            found[at] = (documents, size)
    return found


@contextmanager
def opened(users: Path, version: Version) -> Iterator[Entry]:
    """Open the newest copy of `version`; raise OSError when rotation or a person took it a moment ago."""
    tree = users / version.tree
    if version.in_snapshot is not None:
        with datastore.entry_in(tree / "datastore" / version.in_snapshot, version.uid) as entry:
            yield entry
        return
    kept = tree / keepsakes.DIRECTORY / version.uid
    stamp = max((name for name in os.listdir(kept) if version.first <= name <= version.last), default=None)
    if stamp is None:
        raise FileNotFoundError(f"{kept}: no keepsake of this version is left")
    with datastore.entry_at(kept / stamp) as entry:
        yield entry


def version_of(row: sqlite3.Row) -> Version:
    """Return the version that a row of the view `listed` tells of."""
    said = Document(
        title=row["title"],
        activity=row["activity"],
        mime_type=row["mime_type"],
        size=row["size"],
        timestamp=row["timestamp"],
        preview=bool(row["preview"]),
        damaged=row["damaged"],
        tags=row["tags"],
    )
    return Version(
        row["tree"], row["uid"], row["first"], row["last"], said, bool(row["gone"]), row["in_snapshot"]
    )  # fmt: skip
