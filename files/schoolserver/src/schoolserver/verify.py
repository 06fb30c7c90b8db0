# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading again, slowly, what snapshots hold, once a month: a disk that loses bits says nothing by itself.

btrfs verifies itself (scrub.py); elsewhere what each file was is recorded (checksums.py). A pass may be cut off
anywhere and goes on the next night; it stays below RATE, and stands back while laptops back up.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from schoolserver import btrfs, checksums, datastore, decay, house, paths, quiet, scrub
from schoolserver.alone import alone
from schoolserver.decay import Passes, Piece
from schoolserver.errors import Refusal
from schoolserver.house import House
from schoolserver.stamps import FORM

RATE = 20_000_000  # bytes a second on the average: 1 TB in fourteen hours, a tenth of what a disk can do
_PATIENCE = 600.0  # seconds for one piece: a laptop that never ends its session must not end verifying
_LOOK_EVERY = 5.0  # seconds between two looks at the sessions

Pause = Callable[[int], None]


def run(where: House, now: datetime, pause: Pause, *, anew: bool = False) -> Passes:
    """Go on with the pass under way, or begin one when the month is over, or now with `anew`; return how it ended.

    `pause` is called with the bytes of each piece that was read. Raise OSError, sqlite3.Error, or Refusal while another
    is at it.
    """
    file = where.state / decay.FILE
    with alone(where.state / "verify.lock", "the disk is being verified already: see `journalctl -u xs-verify`"):
        passes = decay.read(file)
        on_btrfs = btrfs.is_btrfs(where.users)
        # Each night: what is recorded later has had more time to decay. For a pass that begins now it is verified.
        if not on_btrfs:
            for piece in checksums.record(where.users, now.strftime(FORM)):
                _say(piece)
                pause(piece.bytes)
        if not anew and not decay.is_due(passes, now):
            return passes
        passes = decay.begin(passes, now)
        for piece in _pieces(where.users, passes, on_btrfs):
            _say(piece)
            passes = decay.plus(passes, piece)
            decay.write(file, passes, house.readers())
            pause(piece.bytes)
        passes = decay.end(passes, datetime.now(UTC))
        decay.write(file, passes, house.readers())
        mended = f", {passes.corrected} blocks mended from their second copy" if passes.corrected else ""
        print(f"verified {passes.bytes / 1e9:.1f} GB: {len(passes.decayed)} decayed{mended}", flush=True)
        return passes


def considerate(users: Path) -> Pause:
    """Return a pause that keeps below RATE, and waits while a session is open in a tree of `users`."""

    def pause(size: int) -> None:
        time.sleep(size / RATE)
        until = time.monotonic() + _PATIENCE
        while is_busy(users) and time.monotonic() < until:
            time.sleep(_LOOK_EVERY)

    return pause


def is_busy(users: Path) -> bool:
    """Say whether a session, or a snapshot, is under way in a tree of `users`: it holds the tree's lock."""
    return any(quiet.in_session(tree) for tree in datastore.trees(users))


def main() -> None:
    """Verify, for the timer; exit 1 where that could not be done. What has decayed is for `xs status` to tell."""
    try:
        run(House(), datetime.now(UTC), considerate(paths.USERS))
    except (Refusal, OSError, sqlite3.Error) as error:
        sys.exit(f"not verified, will go on the next night: {error}")


def _pieces(users: Path, passes: Passes, on_btrfs: bool) -> Iterator[Piece]:
    if on_btrfs:
        return scrub.pieces(users, passes.after)
    return checksums.pieces(users, passes.after, passes.begun)


def _say(piece: Piece) -> None:
    for one in piece.decayed:
        print(f"{one.path!a}: decayed: {one.why}" if one.path else f"decayed: {one.why}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
