# SPDX-License-Identifier: GPL-3.0-or-later
"""What the client keeps in the profile, in `xo-client/`: its key, the server's key, what happened last, and the lock.

It lies in the profile because it is the child's: a reflash that takes the Journal takes this as well, and the next
registration says so by its new key.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Iterator

from xo_client.errors import Trouble, own_disk

FOLDER = "xo-client"


class State:
    """The client's folder in one profile; it is made when something is first written."""

    def __init__(self, profile: Path) -> None:
        self.profile = profile
        self.top = profile / FOLDER

    @property
    def key(self) -> Path:
        """The private key; the public one is beside it with .pub."""
        return self.top / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The server that this laptop registered with, as ssh keeps it."""
        return self.top / "known_hosts"

    def make(self) -> None:
        """Make the folder, readable by its owner alone: it holds the key; raise Trouble where that is impossible."""
        if not self.profile.is_dir():
            raise Trouble("profile")
        with own_disk():
            self.top.mkdir(mode=0o700, exist_ok=True)

    def read(self, name: str) -> dict[str, Any]:
        """Return the record `name`, empty where there is none or a power cut left it broken."""
        try:
            found = json.loads((self.top / (name + ".json")).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, name: str, record: dict[str, Any]) -> None:
        """Write the record `name`, whole or not at all; raise Trouble (disk)."""
        self.make()
        target = self.top / (name + ".json")
        with own_disk():
            with (self.top / (name + ".new")).open("w", encoding="utf-8") as file:
                json.dump(record, file, sort_keys=True)  # ASCII: a path may be no UTF-8
                file.flush()
                os.fsync(file.fileno())
            os.replace(file.name, target)

    def forget(self, name: str) -> None:
        """Remove the record `name` where there is one; raise Trouble (disk)."""
        with own_disk(), suppress(FileNotFoundError):
            (self.top / (name + ".json")).unlink()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock that one backup or restore has at a time; raise Trouble (running) where another has it."""
        self.make()
        with own_disk():
            lock = (self.top / "lock").open("a", encoding="ascii")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Trouble("running") from None
            yield
