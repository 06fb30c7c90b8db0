# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding documents in the catalog by words of their title, tags or activity, in any script.

Of one learner all titles are gone over, some thousand: a tenth of the time that the index of all the school's trigrams
takes (test_catalog_bench.py). That is for the question that goes to the whole school.
"""

from __future__ import annotations

import json
import sqlite3

from schoolserver.timeline import Version, version_of

MOST_WORDS, LONGEST = 8, 200  # words, and characters, of a question: a title is not longer than that
_SHORTEST = 3  # characters that a trigram needs
_FOUND = """
    SELECT listed.* FROM (
        SELECT * FROM (
            SELECT tree, uid, first, last, timestamp,
                row_number() OVER (PARTITION BY uid ORDER BY last DESC, tree) AS place
            FROM versions AS hit WHERE {conditions}
        ) WHERE place = 1 ORDER BY last DESC, timestamp DESC, uid LIMIT ?
    ) AS page
    JOIN listed USING (tree, uid, first) ORDER BY page.last DESC, page.timestamp DESC, page.uid
"""
_OF_TREES = "hit.tree IN (SELECT value FROM json_each(?))"
_MATCHES = "hit.rowid IN (SELECT rowid FROM words WHERE words MATCH ?)"
_HOLDS = "instr(folded(hit.title || char(10) || hit.tags || char(10) || hit.activity), ?)"


def search(database: sqlite3.Connection, trees: list[str] | None, words: str, most: int) -> list[Version]:
    """Return the newest matching version of each document of `trees` that has all `words`: `most`, latest first.

    A word may be a part of one, and an older title of a document finds it too. No words find nothing. `trees` None: of
    the whole school.
    """
    asked = words.replace("\0", "")[:LONGEST].split()[:MOST_WORDS]
    if not asked:
        return []
    database.create_function("folded", 1, str.casefold, deterministic=True)
    conditions: list[str] = []
    values: list[str | int] = []
    if trees is not None:
        conditions.append(_OF_TREES)
        values.append(json.dumps(trees))
    elif long := [word for word in asked if len(word) >= _SHORTEST]:
        conditions.append(_MATCHES)
        values.append(" AND ".join(_quoted(word) for word in long))
        asked = [word for word in asked if len(word) < _SHORTEST]
    conditions += [_HOLDS] * len(asked)
    values += [word.casefold() for word in asked]
    query = _FOUND.format(conditions=" AND ".join(conditions))
    return [version_of(row) for row in database.execute(query, [*values, most])]


def _quoted(word: str) -> str:
    # In quotes nothing is a command of FTS5: a question must not become NOT, NEAR or a column's name.
    return '"' + word.replace('"', '""') + '"'
