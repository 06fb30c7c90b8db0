# SPDX-License-Identifier: GPL-3.0-or-later
"""What stops a backup or a restore."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

from xo_client import words


class Trouble(Exception):
    """A reason of `words.SENTENCES`, and the sentence that a child reads."""

    def __init__(self, reason: str, message: str = "", *, retry_after: int | None = None) -> None:
        super().__init__(message or words.SENTENCES[reason])
        self.reason = reason
        self.retry_after = retry_after  # seconds, where the server said so

    @property
    def message(self) -> str:
        """The sentence."""
        return str(self)

    @property
    def passes(self) -> bool:
        """Whether it may be over in a while by itself."""
        return self.reason in words.PASSING


@contextmanager
def own_disk() -> Iterator[None]:
    """Make Trouble (disk) of what the laptop's own disk refuses: full, read-only, another user's."""
    try:
        yield
    except OSError as error:
        raise Trouble("disk") from error
