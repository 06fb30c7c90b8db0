# SPDX-License-Identifier: GPL-3.0-or-later
"""A tree on disk: made, and made whole again when a crash or a person left it half (docs/architecture.md)."""

from __future__ import annotations

import os
import pwd
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

from schoolserver import accounts, durable, engines
from schoolserver.accounts import Account

READERS = ("xs-journal",)  # services that read every tree
_NEW = ".new"  # in the users' directory, and in a tree's top: what is being made, moved into place when complete
_ACL = "system.posix_acl_access"


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
    _own(tree, 0, uid, 0o750)
    _let_readers_in(tree)
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
        if (status.st_uid, status.st_gid) != (uid, gid):
            os.fchown(directory, uid, gid)
        if status.st_mode & 0o7777 != mode:
            os.fchmod(directory, mode)
    finally:
        os.close(directory)


def _let_readers_in(tree: Path) -> None:
    """Let the services in READERS, where they are installed, look into `tree` besides root and its own group."""
    readers = []
    for name in READERS:
        try:
            readers.append(pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue  # the role that brings it has not run; the registrar comes by again at its next start
    wanted = acl(readers)
    try:
        present = os.getxattr(tree, _ACL)
    except OSError:
        present = b""
    if readers and present != wanted:
        os.setxattr(tree, _ACL, wanted)


def acl(readers: list[int]) -> bytes:
    """Return the ACL `u::rwx, u:<each reader>:r-x, g::r-x, m::r-x, o::---` as linux/posix_acl_xattr.h lays it out."""
    read_and_search, nobody = 5, 0xFFFFFFFF
    owner, group, mask, others = (0x01, 7), (0x04, read_and_search), (0x10, read_and_search), (0x20, 0)
    named = [(0x02, read_and_search, uid) for uid in sorted(readers)]
    entries = [(*owner, nobody), *named, (*group, nobody), (*mask, nobody), (*others, nobody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
