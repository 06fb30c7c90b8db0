# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit trail: who changed what about whom, when, from where. One line of JSON for each change, only ever added to.

    {"when": "2026-11-23T10:15:00Z", "who": "maria", "where": "172.18.0.20", "tree": "SHC12345678.2", "what": "…"}

It lies in the library, because nothing else could tell it again. What a laptop can change without end, its nick, is in
the journal only: everything here is bounded by the cap on laptops, or was done by a person.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Who:
    """Who did it, and from where: a network address, "console", or "" where that means nothing."""

    name: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.name} from {self.place}" if self.place else self.name


@dataclass(frozen=True)
class Entry:
    """One line."""

    when: str  # server time, UTC
    who: str
    where: str
    tree: str
    what: str


def record(file: Path, entries: Iterable[Entry], gid: int) -> None:
    """Add `entries` to `file`, readable by the group `gid`, on the disk before this returns; raise OSError.

    Called before the change itself: after a crash the trail may name a change that did not come about, but none that
    somebody was told of is missing.
    """
    text = "".join(json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in entries)
    if not text:
        return
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "ab") as trail:
        os.fchown(trail.fileno(), 0, gid)
        os.fchmod(trail.fileno(), 0o640)
        size = os.fstat(trail.fileno()).st_size
        # A line that a power cut left half stays alone.
        torn = size > 0 and os.pread(trail.fileno(), 1, size - 1) != b"\n"
        trail.write((b"\n" if torn else b"") + text.encode())
        trail.flush()
        # Else btrfs may write the change itself before this line, and who tries again after a power cut changes nothing
        # any more that could be told.
        os.fsync(trail.fileno())


def read(file: Path, trees: Iterable[str] | None = None) -> list[Entry]:
    """Return the entries in `file`, oldest first, of `trees` only where given; what is no entry is left out."""
    try:
        # Not splitlines(): a text may hold what Unicode calls a line break.
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        try:
            entries.append(Entry(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    wanted = None if trees is None else set(trees)
    return [entry for entry in entries if wanted is None or entry.tree in wanted]
