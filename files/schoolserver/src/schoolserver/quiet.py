# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that nobody waits for makes way for backups: is a session under way, and how long is there to wait."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable
from pathlib import Path

_LOOK_EVERY = 5.0  # seconds
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Patience:
    """How long to make way in all. A laptop that never ends its session must not hold up the work for ever."""

    def __init__(self, trees: Iterable[Path], seconds: float) -> None:
        """Be ready to wait for sessions in `trees`, `seconds` at most."""
        self._trees, self._left = list(trees), seconds
        self._quiet_until = 0.0

    def wait(self) -> None:
        """Return once no session is under way, or patience is at its end."""
        while self._left > 0 and time.monotonic() >= self._quiet_until:
            if not any(in_session(tree) for tree in self._trees):
                self._quiet_until = time.monotonic() + _LOOK_EVERY
                return
            pause = min(_LOOK_EVERY, self._left)
            time.sleep(pause)
            self._left -= pause

    @property
    def over(self) -> bool:
        """Whether all of it was waited."""
        return self._left <= 0


def in_session(tree: Path) -> bool:
    """Say whether somebody, a session mostly, holds the lock of the tree at `tree`."""
    try:
        # As snapshot.py opens it: the learner owns .state, so no link is followed and no pipe waited for.
        lock = os.open(tree / ".state" / "lock", _FLAGS)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
