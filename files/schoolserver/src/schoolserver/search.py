# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding documents in the catalog by words of their title, tags or activity, in any script."""

from __future__ import annotations

import json
import sqlite3

from schoolserver.timeline import Version, version_of

MOST_WORDS, LONGEST = 8, 200  # words, and characters, of a question: a title is not longer than that
_SHORTEST = 3  # characters that a trigram needs
_FOUND = """
    SELECT * FROM (
        SELECT listed.*, row_number() OVER (PARTITION BY listed.uid ORDER BY listed.last DESC, listed.tree) AS place
        FROM versions AS hit JOIN listed USING (tree, uid, first)
        WHERE hit.tree IN (SELECT value FROM json_each(?)) {conditions}
    ) WHERE place = 1 ORDER BY last DESC, timestamp DESC, uid LIMIT ?
"""


def search(database: sqlite3.Connection, trees: list[str], words: str, most: int) -> list[Version]:
    """Return the newest matching version of each document that has all `words`, latest first, at most `most`.

    A word may be a part of one, and an older title of a document finds it too. No words find nothing.
    """
    asked = words.replace("\0", "")[:LONGEST].split()[:MOST_WORDS]
    if not asked:
        return []
    values: list[str | int] = [json.dumps(trees)]
    conditions = ""
    if long := [word for word in asked if len(word) >= _SHORTEST]:
        conditions += " AND hit.rowid IN (SELECT rowid FROM words WHERE words MATCH ?)"
        values.append(" AND ".join(_quoted(word) for word in long))
    for word in asked:
        if len(word) < _SHORTEST:
            conditions += " AND (hit.title || ' ' || hit.tags || ' ' || hit.activity) LIKE ? ESCAPE '!'"
            values.append(_pattern(word))
    query = _FOUND.format(conditions=conditions)
    return [version_of(row) for row in database.execute(query, [*values, most])]


def _quoted(word: str) -> str:
    # In quotes nothing is a command of FTS5: a question must not become NOT, NEAR or a column's name.
    return '"' + word.replace('"', '""') + '"'


def _pattern(word: str) -> str:
    for special in "!%_":
        word = word.replace(special, f"!{special}")
    return f"%{word}%"
