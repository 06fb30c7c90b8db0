# SPDX-License-Identifier: GPL-3.0-or-later
"""registry.db: who is known, for those who may not read the trees. Derived from the accounts, replaced whole.

The file is never changed in place: a reader without write access never meets a half-done change or a journal that it
would have to roll back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from schoolserver import durable, paths
from schoolserver.accounts import Account
from schoolserver.errors import Refusal
from schoolserver.learners import Learners

SCHEMA = 2
IN_USE, WAITING, RETIRED, REMOVED = "in use", "waiting", "retired", "removed"
_TABLES = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA user_version = {SCHEMA};
CREATE TABLE trees (tree TEXT PRIMARY KEY, learner TEXT NOT NULL, uid INTEGER NOT NULL, nick TEXT NOT NULL,
    uuid TEXT NOT NULL, registered TEXT NOT NULL, class TEXT NOT NULL, state TEXT NOT NULL, login TEXT NOT NULL,
    writes TEXT NOT NULL) STRICT;
CREATE TABLE names (name TEXT PRIMARY KEY, tree TEXT NOT NULL REFERENCES trees) STRICT;
CREATE TABLE keys (blob TEXT PRIMARY KEY, type TEXT NOT NULL, tree TEXT NOT NULL REFERENCES trees) STRICT;
"""


@dataclass(frozen=True)
class Row:
    """One tree as the registry knows it."""

    tree: str
    learner: str  # the tree that stands for its learner
    uid: int
    nick: str
    uuid: str
    registered: str
    class_name: str
    state: str  # IN_USE, WAITING (for a person to say whether it is the same child), RETIRED or REMOVED
    login: str  # a name under which its keys log in
    writes: str  # the tree that its keys write
    names: tuple[str, ...]


def write(registry: Path, accounts: Iterable[Account], gid: int) -> None:
    """Replace the file `registry` with what `accounts` say, readable by the group `gid`; raise OSError."""
    new = registry.with_name(f".{registry.name}.new")
    new.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(new)) as database, database:
            database.executescript(_TABLES)
            known = {account.tree: account for account in accounts}
            for row, account in rows_of(known):
                _insert(database, row, account)
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


def trees_of(tree: str, registry: Path = paths.REGISTRY) -> list[str]:
    """Return all trees of the learner of `tree`, sorted; [] when it is not known."""
    query = "SELECT tree FROM trees WHERE learner = (SELECT learner FROM trees WHERE tree = ?) ORDER BY tree"
    return [str(found) for (found,) in _ask(registry, query, tree)]


def is_retired(tree: str, registry: Path = paths.REGISTRY) -> bool:
    """Say whether the laptop of `tree` is in store, and no other key has come with its serial since."""
    query = """
        SELECT 1 FROM trees AS stored WHERE tree = ? AND state = ? AND NOT EXISTS (
            SELECT 1 FROM trees AS other WHERE other.uid = stored.uid AND other.state IN (?, ?)
        )
    """
    return bool(_ask(registry, query, tree, RETIRED, IN_USE, WAITING))


def rows(registry: Path = paths.REGISTRY) -> list[Row]:
    """Return every tree, by name."""
    names: dict[str, list[str]] = {}
    for name, tree in _ask(registry, "SELECT name, tree FROM names ORDER BY name"):
        names.setdefault(tree, []).append(name)
    found = _ask(registry, "SELECT * FROM trees ORDER BY tree")
    return [Row(*(*columns, tuple(names.get(columns[0], ())))) for columns in found]


def rows_of(known: Mapping[str, Account]) -> list[tuple[Row, Account]]:
    """Return the row of each account in `known`, with the account."""
    learners = Learners(known)
    return [
        (
            Row(
                account.tree, learners.learner_of(account.tree), account.uid, account.nick, account.uuid,
                account.registered, account.class_name, _state(account, learners), learners.login_of(account),
                learners.written_by(account), tuple(sorted(account.names)),
            ),
            account,
        )
        for account in known.values()
    ]  # fmt: skip


def check(registry: Path) -> None:
    """Raise Refusal when a newer server wrote `registry`: it may have written accounts too that we would misread."""
    try:
        with closing(_open(registry)) as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error:
        return  # missing or damaged: it is written anew
    if version > SCHEMA:
        raise Refusal(
            f"{registry}: its schema is {version}, and this server knows {SCHEMA}: install the newer package again, or "
            "delete the file to go on with this one"
        )


def _state(account: Account, learners: Learners) -> str:
    if not account.keys:
        return REMOVED
    if learners.is_retired(account):
        return RETIRED
    return WAITING if learners.is_waiting(account) else IN_USE


def _insert(database: sqlite3.Connection, row: Row, account: Account) -> None:
    *columns, names = astuple(row)
    database.execute("INSERT INTO trees VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", columns)
    database.executemany("INSERT INTO names VALUES (?, ?)", [(name, row.tree) for name in names])
    keys = [(key.blob, key.type, row.tree) for key in account.keys]
    database.executemany("INSERT INTO keys VALUES (?, ?, ?)", keys)


def _open(registry: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(registry))}?mode=ro", uri=True)


def _ask(registry: Path, query: str, *values: str) -> list[tuple[Any, ...]]:
    """Return the rows of `query`; none where nobody has registered yet; raise Refusal on a file that is not ours."""
    try:
        with closing(_open(registry)) as database:
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
