# SPDX-License-Identifier: GPL-3.0-or-later
"""What verifying found: verify.json in /var/lib/xs.

    {"begun": "2026-11-01T033000Z", "after": "1:1104150528", "bytes": 4123456789, "ended": "2026-10-01T154500Z",
     "found": [], "decayed": [{"path": "SHC11111111/datastore/2026-11-23T101500Z/02/02ab…/data", "why": "…"}]}

`begun` and `after` are of a pass that is under way, and how far it came; `found` is its. `decayed` is of the last one
that came to its `ended`. Lost is no loss: the next pass finds it again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from schoolserver import durable
from schoolserver.stamps import FORM, is_stamp, time_of

FILE = "verify.json"
EVERY = timedelta(days=28)
MOST = 1000  # decayed files that are named: a disk with more is to be exchanged as a whole
DISK = "the disk does not give it back"
CHANGED = "its bytes are not those that were stored"


@dataclass(frozen=True)
class Decayed:
    """A file that is not any more what it was, or cannot be read."""

    path: str  # below the directory of the trees; "" where it is none
    why: str


@dataclass(frozen=True)
class Piece:
    """What one step of a pass did."""

    after: str  # where the pass stands now
    bytes: int  # that were read
    decayed: list[Decayed]
    corrected: int = 0  # blocks that the file system mended from a second copy


@dataclass(frozen=True)
class Passes:
    """The pass that is under way, where one is, and the last one that came to its end."""

    begun: str = ""  # stamp, "" where none is under way
    after: str = ""
    bytes: int = 0
    corrected: int = 0
    found: tuple[Decayed, ...] = ()
    ended: str = ""  # stamp, "" where none ever was
    decayed: tuple[Decayed, ...] = ()

    @property
    def all_decayed(self) -> list[Decayed]:
        """What either found, each once."""
        return list(dict.fromkeys((*self.found, *self.decayed)))


def is_due(passes: Passes, now: datetime) -> bool:
    """Say whether something is to be verified at the UTC time `now`: a pass to go on with, or the month is over."""
    if passes.begun or not passes.ended:
        return True
    return not timedelta(0) <= now - time_of(passes.ended) < EVERY


def begin(passes: Passes, now: datetime) -> Passes:
    """Return `passes` with one under way: the one that is, or a new one."""
    if passes.begun:
        return passes
    return Passes(begun=now.strftime(FORM), ended=passes.ended, decayed=passes.decayed)


def plus(passes: Passes, piece: Piece) -> Passes:
    """Return `passes` with what `piece` did."""
    found = tuple(dict.fromkeys((*passes.found, *piece.decayed)))[:MOST]
    size, corrected = passes.bytes + piece.bytes, passes.corrected + piece.corrected
    return replace(passes, after=piece.after, bytes=size, corrected=corrected, found=found)


def end(passes: Passes, now: datetime) -> Passes:
    """Return `passes` with the one under way at its end: what it did not find again is mended, or gone."""
    return replace(passes, begun="", after="", found=(), ended=now.strftime(FORM), decayed=passes.found)


def read(file: Path) -> Passes:
    """Return what `file` holds; as if nothing had ever been verified when it is missing or damaged."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        lists = {name: tuple(Decayed(str(one["path"]), str(one["why"])) for one in said[name]) for name in _LISTS}
        found = Passes(**{**said, **lists})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return Passes()
    right = all(one == "" or (isinstance(one, str) and is_stamp(one)) for one in (found.begun, found.ended))
    numbers = type(found.bytes) is type(found.corrected) is int
    return found if right and numbers and isinstance(found.after, str) else Passes()


def write(file: Path, passes: Passes, gid: int) -> None:
    """Replace `file`, for the group `gid` to read; raise OSError."""
    durable.replace(file, json.dumps(asdict(passes), indent=1) + "\n", 0o640, gid)


_LISTS = ("found", "decayed")
