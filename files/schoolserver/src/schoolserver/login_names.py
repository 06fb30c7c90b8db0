# SPDX-License-Identifier: GPL-3.0-or-later
"""Login names and keys, derived from the accounts: extrausers' passwd and group, and one key file for each uid.

/etc/passwd is not touched, and 300 laptops that register in one minute cost 300 small files, not 300 `useradd`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from schoolserver import durable, paths
from schoolserver.accounts import FIRST_UID, LAST_UID, Account

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


def group(accounts: Iterable[Account]) -> str:
    """Return extrausers' group: each learner's own, named after its serial, and the one that sshd matches."""
    own: dict[int, str] = {}
    names: list[str] = []
    for account in accounts:
        own.setdefault(account.uid, account.serial)
        names.extend(account.names)
    lines = [f"{name}:*:{gid}:\n" for gid, name in sorted(own.items())]
    return f"{LEARNERS}:*:{LEARNERS_GID}:{','.join(sorted(names))}\n" + "".join(lines)


def key_files(accounts: Iterable[Account]) -> dict[int, str]:
    """Return the text of each uid's key file: a key opens its own tree through the gate, and nothing else.

    `restrict` switches off every forwarding, agent, pty and user rc, also those that later OpenSSH versions invent.
    """
    files: dict[int, str] = {}
    for account in accounts:
        lines = [f'restrict,command="gate {account.tree}" {key.type} {key.blob}\n' for key in account.keys]
        files[account.uid] = files.get(account.uid, "") + "".join(lines)
    return files


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
    _write(extrausers / "group", group(accounts), 0o644)
    _write(extrausers / "passwd", passwd(accounts), 0o644)


def _write(path: Path, text: str, mode: int, gid: int = 0) -> None:
    try:
        status = path.stat()
        same = path.read_text(encoding="utf-8") == text and (status.st_mode & 0o7777, status.st_gid) == (mode, gid)
    except (FileNotFoundError, UnicodeDecodeError):
        same = False
    if not same:
        durable.replace(path, text, mode, gid, derived=True)
