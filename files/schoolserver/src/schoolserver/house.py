# SPDX-License-Identifier: GPL-3.0-or-later
"""The accounts on disk and all that is derived from them: read, changed by one writer at a time, derived again.

registrar.py changes them for laptops, acts.py for people. Whatever a crash interrupts, derive() makes whole.
"""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from schoolserver import accounts, engines, login_names, paths, registry, trees
from schoolserver.accounts import HANDED_ON, Account, Known
from schoolserver.errors import Refusal

Step = tuple[Account | None, Account]  # an account as it stands (None: not there yet) and as it will stand


@dataclass(frozen=True)
class House:
    """Where everything stands; tests stand elsewhere."""

    users: Path = paths.USERS
    state: Path = paths.STATE
    extrausers: Path = paths.EXTRAUSERS
    keys: Path = paths.KEYS

    @property
    def audit(self) -> Path:
        """The audit trail, in the library."""
        return self.users.parent / paths.AUDIT.name

    @property
    def learners(self) -> Path:
        """Where gates read which trees are their learner's."""
        return self.keys.parent / paths.LEARNERS.name


@contextmanager
def alone(house: House) -> Iterator[None]:
    """Hold the lock that every writer of accounts takes."""
    lock = os.open(house.state / "registrar.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def read(house: House) -> Known:
    """Return what is known, without what cannot be true at once; raise OSError."""
    return consistent(accounts.read_all(house.users))


def consistent(known: Known) -> Known:
    """Return `known` without the accounts that claim a name or a key which an older account has, those as damaged.

    One name, one learner; a key writes exactly one tree. Where a laptop was handed on, the new account is the truth:
    the old one loses what it still claims. Any other such pair a hand must have made that copied a tree.
    """
    claimed: dict[str, str] = {}
    good: dict[str, Account] = {}
    damaged = dict(known.damaged)
    for account in sorted(_handed_on(known.accounts), key=lambda a: (a.registered, a.tree)):
        claims = [*account.names, *(key.blob for key in account.keys)]
        other = next((claimed[claim] for claim in claims if claim in claimed), None)
        if other is None:
            good[account.tree] = account
            claimed.update(dict.fromkeys(claims, account.tree))
        else:
            damaged[account.tree] = f"it has a name or a key that {other} has"
    return Known(good, damaged, known.uids)


def save(house: House, steps: Sequence[Step]) -> dict[str, OSError]:
    """Write the accounts of `steps`, and make or mend their trees; return {tree: what went wrong with it}.

    Raise OSError where nothing could be made. The caller holds the lock; when this returns all of it is on the disk.
    """
    changed = [(before, after) for before, after in steps if before != after]
    trees.make(house.users, [after for before, after in changed if before is None])
    failed: dict[str, OSError] = {}
    for before, after in changed:
        try:
            if before is not None:
                accounts.write(house.users, after)
        except OSError as error:
            failed[after.tree] = error
    for _, after in steps:
        try:
            trees.complete(house.users, after)
        except OSError as error:
            failed[after.tree] = error
    engines.of(house.users).sync(house.users)
    return failed


def write_derived(house: House, known: Iterable[Account]) -> None:
    """Write everything that follows from the accounts in `known`, where it differs; raise OSError."""
    everyone = sorted(known, key=lambda account: account.tree)
    registry.write(house.state / paths.REGISTRY.name, everyone, readers())
    login_names.write(everyone, house.extrausers, house.keys)
    login_names.write_learners(everyone, house.learners)


def derive(house: House | None = None) -> None:
    """Write everything again that follows from the account.json files, and mend every tree; raise Refusal or OSError.

    At each start: a crash in a registration, a lost /var, or a library from another machine leave no other trace.
    """
    house = house or House()
    registry.check(house.state / paths.REGISTRY.name)
    with alone(house):
        on_disk = accounts.read_all(house.users)
        known = consistent(on_disk)
        for tree, reason in known.damaged.items():
            print(f"skipped {house.users / tree / accounts.FILE}: {reason}", file=sys.stderr, flush=True)
        for account in known.accounts.values():
            try:
                if account != on_disk.accounts[account.tree]:
                    accounts.write(house.users, account)
                trees.complete(house.users, account)
            except OSError as error:
                print(f"{account.tree} is damaged and stays as it is: {error}", file=sys.stderr, flush=True)
        write_derived(house, known.accounts.values())


def check_name_is_free(serial: str) -> None:
    """Raise Refusal when `serial` is a login name of the machine's own: a laptop must not get into that."""
    try:
        uid = pwd.getpwnam(serial).pw_uid
    except KeyError:
        return
    if not accounts.FIRST_UID <= uid <= accounts.LAST_UID:
        raise Refusal(f"{serial} is an account of the school server itself: ask the school's technician")


def readers() -> int:
    """Return the gid of those who may read the registry; root's where the package that brings them is not there."""
    try:
        return grp.getgrnam("xs-readers").gr_gid
    except KeyError:
        return 0


def _handed_on(known: dict[str, Account]) -> list[Account]:
    """Return the accounts, each without the names and keys that went on to another child with the laptop."""
    current = dict(known)
    for account in known.values():
        if not any(approval.did == HANDED_ON for approval in account.approvals):
            continue
        blobs = {key.blob for key in account.keys}
        for other in list(current.values()):
            if other.tree == account.tree or _came_from(other, account.tree):
                continue
            names = tuple(name for name in other.names if name not in account.names)
            keys = tuple(key for key in other.keys if key.blob not in blobs)
            current[other.tree] = replace(other, names=names, keys=keys)
    return list(current.values())


def _came_from(account: Account, tree: str) -> bool:
    return any(approval.did == HANDED_ON and approval.tree == tree for approval in account.approvals)
