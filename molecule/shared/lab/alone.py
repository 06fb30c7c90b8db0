# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time in one lab: a second one would take the first one's hosts away under it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab import places
from lab.trouble import Trouble


@contextmanager
def run(*labs: str) -> Iterator[None]:
    """Hold `labs` for the time of a run; raise Trouble if another run holds one. The kernel lets go after a crash."""
    with ExitStack() as held:
        for lab in labs:
            file = held.enter_context(_file(lab).open("a", encoding="utf-8"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Trouble(f"another run is under way in the lab {lab}: wait for it, or stop it") from error
        yield


def _file(lab: str) -> Path:
    directory = places.lab(lab).parent
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"{lab}.lock"
