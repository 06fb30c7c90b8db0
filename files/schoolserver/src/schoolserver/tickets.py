# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may look at which tree's page: tickets, good once and for minutes, and the sessions that they open.

Held in memory only: a restart closes every page, and a new ticket is one command away.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from dataclasses import dataclass, field

MOST_A_TREE = 20  # tickets, and sessions, of one tree at a time; the oldest makes room
MOST = 5000  # of all trees: a whole school with several pages each


@dataclass
class Tickets:
    """The tickets and sessions of this process. Times are seconds of one clock that never goes back."""

    ticket_seconds: float
    session_seconds: float
    _tickets: dict[bytes, tuple[str, float]] = field(default_factory=dict)
    _sessions: dict[bytes, tuple[str, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def mint(self, tree: str, now: float) -> str:
        """Return a new ticket for `tree`."""
        with self._lock:
            return _add(self._tickets, tree, now, self.ticket_seconds)

    def redeem(self, ticket: str, now: float) -> str | None:
        """Return a session for the ticket's tree, or None if it is used, too old, or none of ours."""
        with self._lock:
            tree = _look_up(self._tickets, ticket, now)
            self._tickets.pop(_digest(ticket), None)
            return None if tree is None else _add(self._sessions, tree, now, self.session_seconds)

    def tree_of(self, session: str, now: float) -> str | None:
        """Return the tree that `session` may see, or None."""
        with self._lock:
            return _look_up(self._sessions, session, now)


def _add(held: dict[bytes, tuple[str, float]], tree: str, now: float, seconds: float) -> str:
    for digest in [digest for digest, (_, until) in held.items() if until <= now]:
        del held[digest]
    own = [digest for digest, (other, _) in held.items() if other == tree]
    for digest in own[: max(0, len(own) - MOST_A_TREE + 1)]:
        del held[digest]
    if len(held) >= MOST:
        del held[next(iter(held))]
    token = secrets.token_urlsafe(32)
    held[_digest(token)] = (tree, now + seconds)
    return token


def _look_up(held: dict[bytes, tuple[str, float]], token: str, now: float) -> str | None:
    tree, until = held.get(_digest(token), ("", now))
    return tree if now < until else None


def _digest(token: str) -> bytes:
    # Looked up by digest: how long a comparison takes tells a guesser nothing about the token.
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
