# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a learner's documents back for a person: into a directory, or into incoming for the laptop's next restore.

It reads the disk alone, so it works while the catalog is damaged. What a laptop can do for itself it asks the gate for.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from schoolserver import copying, datastore, keepsakes, pins
from schoolserver.engines import DATASTORE
from schoolserver.entries import Entry
from schoolserver.errors import Refusal
from schoolserver.stamps import is_stamp

BEST, LATEST = "best", "latest"
_STAGE = ".restoring"  # in the tree's top
_DISK = (errno.EFBIG, errno.ENOSPC, errno.EROFS, errno.EDQUOT)  # errors of the target: nothing more can come of it
LAYOUT = "6"  # of the datastore that is made (PROTOCOL.md section 6)
Progress = Callable[[int, int], None]  # documents done, of how many


@dataclass(frozen=True)
class Copy:
    """Where one copy of a document lies: a snapshot's entry, or a keepsake."""

    tree: str
    uid: str
    stamp: str
    keepsake: bool = False

    def opened(self, users: Path) -> AbstractContextManager[Entry]:
        """Open the copy; raise OSError when it is not there."""
        tree = users / self.tree
        if self.keepsake:
            return datastore.entry_at(tree / keepsakes.DIRECTORY / self.uid / self.stamp)
        return datastore.entry_in(tree / "datastore" / self.stamp, self.uid)


def chosen(tree: Path, when: str) -> str | None:
    """Return the snapshot of `tree` that `when` means, None if there is none; raise Refusal if `when` means nothing.

    `when` is BEST, LATEST, a stamp, or a day such as 2026-11-23: then the last snapshot of that day, or before it.
    """
    taken = datastore.snapshots(tree)
    if when == BEST:
        return pins.best_of(taken, pins.read(tree))[0]
    if when == LATEST:
        return taken[-1] if taken else None
    check_when(when)
    return max((stamp for stamp in taken if stamp <= f"{when}~"), default=None)


def check_when(when: str) -> None:
    """Raise Refusal where `when` is neither a stamp nor a day."""
    if not is_stamp(when) and not is_stamp(f"{when}T000000Z"):
        raise Refusal(f"{when[:40]!a} is no time: say best, latest, a day such as 2026-11-23, or a snapshot's name")


def everything(users: Path, trees: Sequence[str], when: str, *, gone: bool = False) -> list[Copy]:
    """Return a copy of each document of the learner who has `trees`, as they were at `when`; raise Refusal or OSError.

    A document that several trees hold comes from the newest of the snapshots. With `gone`, what left the Journal comes
    along. As of BEST or LATEST that is every document that was ever in a completed run, as it was when last seen: also
    what came after the loss for which BEST is not the newest snapshot.
    """
    then: list[Copy] = []
    left: list[Copy] = []
    for tree in trees:
        stamp = chosen(users / tree, when)
        then += _in_snapshot(users, tree, stamp) if stamp else []
        if gone:
            left += [Copy(tree, uid, kept, keepsake=True) for uid, kept in keepsakes.every(users / tree)]
            for pinned in pins.read(users / tree):
                left += _in_snapshot(users, tree, pinned)
            if newest := chosen(users / tree, LATEST) if when == BEST else None:
                left += _in_snapshot(users, tree, newest)
    found = _newest(left + then) if when in (BEST, LATEST) else _newest(left) | _newest(then)
    return sorted(found.values(), key=lambda copy: copy.uid)


def _in_snapshot(users: Path, tree: str, stamp: str) -> list[Copy]:
    snapshot = users / tree / "datastore" / stamp
    return [Copy(tree, uid, stamp) for uid in datastore.entries(snapshot)] if snapshot.is_dir() else []


def _newest(copies: Sequence[Copy]) -> dict[str, Copy]:
    return {copy.uid: copy for copy in sorted(copies, key=lambda copy: copy.stamp)}


def copies_of(users: Path, trees: Sequence[str], uid: str) -> list[Copy]:
    """Return every copy of the document `uid`, the newest first."""
    found = [
        Copy(tree, uid, stamp)
        for tree in trees
        for stamp in datastore.snapshots(users / tree)
        if uid in datastore.entries(users / tree / "datastore" / stamp)
    ]
    found += [
        Copy(tree, kept, stamp, keepsake=True)
        for tree in trees
        for kept, stamp in keepsakes.every(users / tree)
        if kept == uid
    ]
    return sorted(found, key=lambda copy: (copy.stamp, not copy.keepsake), reverse=True)


def to_directory(users: Path, copies: Sequence[Copy], target: Path, progress: Progress) -> list[tuple[Copy, str]]:
    """Make `target` a datastore that holds `copies`; return those that could not be read, with the reason.

    It appears under its name when it is whole. Raise Refusal when something is there already, OSError when the disk
    fails.
    """
    if target.exists():
        raise Refusal(f"{target} is there already: name a new directory")
    if not target.parent.is_dir():
        raise Refusal(f"there is no directory {target.parent}")
    making = target.with_name(f".{target.name}.new")
    if making.exists():
        copying.remove(making)
    making.mkdir(0o755)
    failed = []
    for number, copy in enumerate(copies, 1):
        try:
            with copy.opened(users) as entry:
                copying.entry(entry, making / copy.uid[:2] / copy.uid)
        except OSError as error:
            if error.errno in _DISK:  # of the target: nothing more can come of it
                copying.remove(making)
                raise
            failed.append((copy, str(error)))
        progress(number, len(copies))
    (making / "version").write_text(LAYOUT, encoding="ascii")
    subprocess.run(["sync", "--file-system", str(making)], check=True)
    making.rename(target)
    return failed


def to_incoming(users: Path, tree: str, copies: Sequence[Copy], progress: Progress) -> list[tuple[Copy, str]]:
    """Put `copies` into the incoming directory of `tree`, beside what is there, for the laptop's next restore.

    The caller holds the tree's lock. Return those that could not be read, with the reason; raise OSError.
    """
    stage, incoming = users / tree / _STAGE, users / tree / DATASTORE.incoming
    if stage.exists():
        copying.remove(stage)
    failed = to_directory(users, copies, stage, progress)
    source = os.open(stage, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    owner = os.stat(incoming, follow_symlinks=False)
    command = ["cp", "--recursive", "--no-clobber", "--no-dereference", "--preserve=timestamps", "--reflink=auto",
               "--no-target-directory", "--", f"/proc/self/fd/{source}/.", "."]  # fmt: skip
    # As the learner: what a laptop wrote into incoming, a link for instance, leads nowhere that she could not go.
    done = subprocess.run(
        command, cwd=incoming, user=owner.st_uid, group=owner.st_gid, extra_groups=[], umask=0o022, pass_fds=[source],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    os.close(source)
    copying.remove(stage)
    if done.returncode:
        raise OSError(f"{incoming}: {done.stderr.strip()[-300:]}")
    return failed
