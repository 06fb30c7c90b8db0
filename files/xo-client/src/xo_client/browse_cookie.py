# SPDX-License-Identifier: GPL-3.0-or-later
"""Bake the cookie that Browse makes for a registered laptop, because Browse 207 and 208 crash where they try.

They hash a text that is no bytes, in the start of the activity; where the cookie is there already they do not try
(webactivity.py, _seed_xs_cookie). The store is libsoup's, in its own form (soup-cookie-jar-sqlite.c).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

from xo_client import sugar

_STORE = "org.laptop.WebActivity/data/gecko/cookies.sqlite"
_FOR_EVER = 2145916800  # seconds since 1970: the end of 2037. The laptop's own clock may say anything
_TABLE = (
    "CREATE TABLE IF NOT EXISTS moz_cookies (id INTEGER PRIMARY KEY, name TEXT, value TEXT, host TEXT, path TEXT, "
    "expiry INTEGER, lastAccessed INTEGER, isSecure INTEGER, isHttpOnly INTEGER, sameSite INTEGER)"
)


def bake(profile: Path, pubkey: str) -> None:
    """Put the cookie into Browse's store in `profile`, if it is not there; nothing else depends on it, so never raise.

    `pubkey` is the key that this laptop registered with. The cookie says who is there, and proves nothing.
    """
    host = sugar.setting("jabber-server", sugar.COLLABORATION)
    if not host:
        return
    colour = sugar.setting("color", "org.sugarlabs.user")
    said = {"color": colour, "pkey_hash": hashlib.sha1(pubkey.encode("ascii")).hexdigest()}  # noqa: S324  as Browse does
    store = profile / _STORE
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(str(store), timeout=5)) as database, database:
            database.execute(_TABLE)
            there = "SELECT 1 FROM moz_cookies WHERE name = 'xoid' AND host = ? AND expiry > strftime('%s', 'now')"
            if not database.execute(there, (host,)).fetchone():
                row = ("xoid", json.dumps(said), host, "/", _FOR_EVER, 0, 0, 0, 0)
                database.execute(
                    "INSERT INTO moz_cookies (name, value, host, path, expiry, lastAccessed, isSecure, isHttpOnly, "
                    "sameSite) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
    except (OSError, sqlite3.Error):  # Browse itself has the store open, or it is of another form
        return
