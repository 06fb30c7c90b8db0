# SPDX-License-Identifier: GPL-3.0-or-later
"""registry.db: who is known, for those who may not read the trees. Derived from the accounts, replaced whole.

The file is never changed in place: a reader without write access never meets a half-done change or a journal that it
would have to roll back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from schoolserver import durable, paths
from schoolserver.accounts import Account
from schoolserver.errors import Refusal

SCHEMA = 1
_TABLES = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA user_version = {SCHEMA};
CREATE TABLE trees (tree TEXT PRIMARY KEY, learner TEXT NOT NULL, uid INTEGER NOT NULL, nick TEXT NOT NULL,
    uuid TEXT NOT NULL, registered TEXT NOT NULL) STRICT;
CREATE TABLE names (name TEXT PRIMARY KEY, tree TEXT NOT NULL REFERENCES trees) STRICT;
CREATE TABLE keys (blob TEXT PRIMARY KEY, type TEXT NOT NULL, tree TEXT NOT NULL REFERENCES trees) STRICT;
"""


@dataclass(frozen=True)
class Row:
    """One tree as the registry knows it."""

    tree: str
    learner: str
    uid: int
    nick: str
    uuid: str
    registered: str
    names: tuple[str, ...]


def write(registry: Path, accounts: Iterable[Account], gid: int) -> None:
    """Replace the file `registry` with what `accounts` say, readable by the group `gid`; raise OSError."""
    new = registry.with_name(f".{registry.name}.new")
    new.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(new)) as database, database:
            database.executescript(_TABLES)
            for account in accounts:
                _insert(database, account)
    except sqlite3.Error as error:
        raise OSError(f"{new}: {error}") from error
    durable.publish(new, registry, 0o640, gid, derived=True)


def tree_of(name: str, registry: Path = paths.REGISTRY) -> str | None:
    """Return the tree that the login name `name` stands for, or None."""
    found = _ask(registry, "SELECT tree FROM names WHERE name = ?", name)
    return str(found[0][0]) if found else None


def uid_of(tree: str, registry: Path = paths.REGISTRY) -> int | None:
    """Return the uid that owns `tree`, or None."""
    found = _ask(registry, "SELECT uid FROM trees WHERE tree = ?", tree)
    return int(found[0][0]) if found else None


def rows(registry: Path = paths.REGISTRY) -> list[Row]:
    """Return every tree, by name."""
    names: dict[str, list[str]] = {}
    for name, tree in _ask(registry, "SELECT name, tree FROM names ORDER BY name"):
        names.setdefault(tree, []).append(name)
    found = _ask(registry, "SELECT tree, learner, uid, nick, uuid, registered FROM trees ORDER BY tree")
    return [
        Row(tree, learner, uid, nick, uuid, registered, tuple(names.get(tree, ())))
        for tree, learner, uid, nick, uuid, registered in found
    ]


def _insert(database: sqlite3.Connection, account: Account) -> None:
    row = (account.tree, account.learner, account.uid, account.nick, account.uuid, account.registered)
    database.execute("INSERT INTO trees VALUES (?, ?, ?, ?, ?, ?)", row)
    database.executemany("INSERT INTO names VALUES (?, ?)", [(name, account.tree) for name in account.names])
    keys = [(key.blob, key.type, account.tree) for key in account.keys]
    database.executemany("INSERT INTO keys VALUES (?, ?, ?)", keys)


def _ask(registry: Path, query: str, *values: str) -> list[tuple[Any, ...]]:
    """Return the rows of `query`; none where nobody has registered yet; raise Refusal on a file that is not ours."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(registry))}?mode=ro", uri=True)) as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA:
                raise Refusal(
                    f"{registry}: its schema is {version}, not {SCHEMA}: restart xs-registrar to write it anew"
                )
            return database.execute(query, values).fetchall()
    except sqlite3.OperationalError as error:
        if not registry.exists():
            return []
        raise Refusal(f"{registry}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise Refusal(f"{registry}: {error}: restart xs-registrar to write it anew") from error
