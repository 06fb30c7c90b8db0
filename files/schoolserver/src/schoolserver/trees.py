# SPDX-License-Identifier: GPL-3.0-or-later
"""A tree on disk: made, and made whole again when a crash or a person left it half (docs/architecture.md)."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Sequence
from pathlib import Path

from schoolserver import accounts, durable, engines
from schoolserver.accounts import Account

# Reads every tree. It owns each tree's top, without the right to write in it: an access list for it would need a mount
# that takes those, and btrfs takes them from a file's owner in read-only snapshots as well (docs/threat-model.md).
READER = "xs-journal"
_NEW = ".new"  # in the users' directory, and in a tree's top: what is being made, moved into place when complete


def make(users: Path, new: Sequence[Account]) -> None:
    """Make the directories of the trees of `new` under `users`, each with its account.json; raise OSError.

    A tree gets its name only when its account.json is on the disk. All of them wait for that once: btrfs writes out
    everything it has in hand each time it is asked to.
    """
    making = users / _NEW
    shutil.rmtree(making, ignore_errors=True)
    if not new:
        return
    making.mkdir(0o700)
    for account in new:
        (making / account.tree).mkdir(0o700)
        text = accounts.to_json(account)
        durable.replace(making / account.tree / accounts.FILE, text, 0o640, account.uid, derived=True)
    engines.of(users).sync(users)
    for account in new:
        (making / account.tree).rename(users / account.tree)
    shutil.rmtree(making, ignore_errors=True)
    durable.sync_directory(users)  # before another account gives up what a new one has


def complete(users: Path, account: Account) -> None:
    """Make or mend everything in `account`'s tree but its account.json; what is right already stays untouched."""
    tree, uid = users / account.tree, account.uid
    engine = engines.of(users)
    _own(tree, _reader(), uid, 0o550)
    engine.remove(tree / _NEW)
    _directory(tree / "power-logs", uid, uid, 0o755)
    for name in (*(kind.snapshots for kind in engines.KINDS), "keepsakes"):
        _directory(tree / name, 0, 0, 0o755)
    _directory(tree / ".state", uid, uid, 0o700)
    for kind in engines.KINDS:
        incoming = tree / kind.incoming
        if not os.path.lexists(incoming):
            # Under a name that no session uses: once the learner owns this directory, root changes nothing in it by
            # path, where a link put in time would give her the file behind it.
            engine.make_incoming(tree / _NEW, uid, kind)
            (tree / _NEW).rename(incoming)
        else:
            _own(incoming, uid, uid, 0o755)


def _directory(path: Path, uid: int, gid: int, mode: int) -> None:
    path.mkdir(0o700, exist_ok=True)
    _own(path, uid, gid, mode)


def _own(path: Path, uid: int, gid: int, mode: int) -> None:
    """Give the directory `path` these owners and permissions, following no link."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(directory)
        if status.st_mode & 0o7777 != mode:
            os.fchmod(directory, mode)  # before it is another's, who could use what was allowed to root
        if (status.st_uid, status.st_gid) != (uid, gid):
            os.fchown(directory, uid, gid)
    finally:
        os.close(directory)


def _reader() -> int:
    """Return the uid of READER, root's where it is not installed: the registrar comes by again at its next start."""
    try:
        return pwd.getpwnam(READER).pw_uid
    except KeyError:
        return 0
