# SPDX-License-Identifier: GPL-3.0-or-later
"""Login names and keys, derived from the accounts: extrausers' passwd and group, a key file for each uid, and for each
learner with several trees which they are.

/etc/passwd is not touched, and 300 laptops that register in one minute cost 300 small files, not 300 `useradd`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from schoolserver import durable, paths
from schoolserver.accounts import FIRST_UID, LAST_UID, Account
from schoolserver.learners import Learners
from schoolserver.names import TREE

GATE = paths.PROGRAMS / "gate"
# sshd's Match block names this group. It owns no file: learners who share a group for files could read each other's.
LEARNERS = "xs-learners"
LEARNERS_GID = FIRST_UID - 1


def passwd(accounts: Iterable[Account]) -> str:
    """Return extrausers' passwd: a line for each login name, password `*` (none fits), shell the gate.

    The nick is not in it: it is free text from a laptop, and a colon or a line break would make another account.
    """
    lines = [
        f"{name}:*:{account.uid}:{account.uid}::{paths.USERS / account.tree}:{GATE}\n"
        for account in accounts
        for name in account.names
    ]
    return "".join(sorted(lines))


def group(accounts: Sequence[Account]) -> str:
    """Return extrausers' group: each uid's own, named after its first tree, and the one that sshd matches.

    The login names of a learner's other laptops are members: that is how they may read all of the learner's trees.
    """
    known = {account.tree: account for account in accounts}
    learners = Learners(known)
    own: dict[int, str] = {}
    members: dict[int, set[str]] = {}
    for account in accounts:
        own.setdefault(account.uid, account.tree)
        members.setdefault(account.uid, set())
    for trees in learners.all().values():
        together = [known[tree] for tree in trees]
        for one in together:
            others = {account.uid for account in together} - {one.uid}
            for gid in others:
                members[gid].update(learners.logins_of(one))
    everyone = sorted(name for account in accounts for name in account.names)
    lines = [f"{name}:*:{gid}:{','.join(sorted(members[gid]))}\n" for gid, name in sorted(own.items())]
    return f"{LEARNERS}:*:{LEARNERS_GID}:{','.join(everyone)}\n" + "".join(lines)


def key_files(accounts: Sequence[Account]) -> dict[int, str]:
    """Return the text of each uid's key file: a key opens one tree through the gate, and nothing else.

    `restrict` switches off every forwarding, agent, pty and user rc, also those that later OpenSSH versions invent.
    The keys of a laptop in store open nothing.
    """
    learners = Learners({account.tree: account for account in accounts})
    files: dict[int, str] = {}
    for account in accounts:
        tree = learners.written_by(account)
        keys = () if learners.is_retired(account) else account.keys
        lines = [f'restrict,command="gate {tree}" {key.type} {key.blob}\n' for key in keys]
        files[account.uid] = files.get(account.uid, "") + "".join(lines)
    return files


def learner_files(accounts: Sequence[Account]) -> dict[str, tuple[str, int]]:
    """Return {tree: (all trees of its learner, one a line; gid of who may read that)} where they are several."""
    known = {account.tree: account for account in accounts}
    several = [trees for trees in Learners(known).all().values() if len(trees) > 1]
    return {tree: ("".join(f"{one}\n" for one in trees), known[tree].uid) for trees in several for tree in trees}


def write(accounts: list[Account], extrausers: Path, keys: Path) -> None:
    """Make the files under `extrausers` and `keys` say what `accounts` say, touching only what differs; raise OSError.

    Keys stand before the names that use them: a laptop is never let in on a key that has just gone.
    """
    files = key_files(accounts)
    for file in keys.iterdir():
        if file.name.isdigit() and FIRST_UID <= int(file.name) <= LAST_UID and int(file.name) not in files:
            file.unlink()
    for uid, text in files.items():
        _write(keys / str(uid), text, 0o640, uid)
    # These two are waited for: empty after a power cut, they would lock everybody out until the registrar has started.
    _write(extrausers / "group", group(accounts), 0o644, derived=False)
    _write(extrausers / "passwd", passwd(accounts), 0o644, derived=False)


def write_learners(accounts: list[Account], directory: Path) -> None:
    """Make the files in `directory` say which trees belong together, touching only what differs; raise OSError."""
    directory.mkdir(0o711, exist_ok=True)
    wanted = learner_files(accounts)
    for file in directory.iterdir():
        if file.name not in wanted and TREE.fullmatch(file.name):
            file.unlink()
    for tree, (text, gid) in wanted.items():
        _write(directory / tree, text, 0o640, gid)


def _write(path: Path, text: str, mode: int, gid: int = 0, *, derived: bool = True) -> None:
    try:
        status = path.stat()
        same = path.read_text(encoding="utf-8") == text and (status.st_mode & 0o7777, status.st_gid) == (mode, gid)
    except (FileNotFoundError, UnicodeDecodeError):
        same = False
    if not same:
        durable.replace(path, text, mode, gid, derived=derived)
