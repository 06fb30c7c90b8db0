# SPDX-License-Identifier: GPL-3.0-or-later
"""The users of this laptop who have a Journal, as root sees them: nothing that lies in their homes is believed."""

from __future__ import annotations

import fcntl
import os
import pwd
import select
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Iterator

from xo_client.state import FOLDER

User = pwd.struct_passwd
_USERS = range(1000, 60000)
_PROFILE = ".sugar/default"
_INPUT = Path("/dev/input")
_ABOUT_INPUT = Path("/sys/class/input")


def children() -> list[User]:
    """Return the users with a Sugar profile, each once."""
    found = {user.pw_uid: user for user in pwd.getpwall() if user.pw_uid in _USERS}
    return [user for _, user in sorted(found.items()) if os.path.isdir(os.path.join(user.pw_dir, _PROFILE))]


@contextmanager
def at_rest(users: list[User], seconds: float) -> Iterator[bool]:
    """Hold the lock of each of `users` that backups and restores have, and say whether all could be had in `seconds`:
    programs are not replaced while they run.
    """
    end = time.monotonic() + seconds
    with ExitStack() as held:
        yield all(_hold(held, user, end) for user in users)


def _hold(held: ExitStack, user: User, end: float) -> bool:
    try:
        with _as(user):
            # As the child: a link to a file of root's in the place of the lock would hold up whoever locks that.
            lock = os.open(
                os.path.join(user.pw_dir, _PROFILE, FOLDER, "lock"),
                os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
            )
    except OSError:
        return True  # no backup has ever run
    held.callback(os.close, lock)
    while True:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(1)


@contextmanager
def _as(user: User) -> Iterator[None]:
    groups = os.getgroups()
    try:
        os.setgroups([user.pw_gid])
        os.setegid(user.pw_gid)
        os.seteuid(user.pw_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def nobody_there(quiet: float, patience: float, devices: Path = _INPUT, about: Path = _ABOUT_INPUT) -> bool:
    """Wait until nobody has touched keyboard or pointer for `quiet` seconds, at most `patience`; say whether so.

    Not a byte is read of what is typed: we ask whether something happens, never what. That is why each look opens the
    devices anew: an event that nobody takes stays in the line.
    """
    end = time.monotonic() + patience
    while True:
        with ExitStack() as opened:
            files = []
            for device in sorted(devices.glob("event*")):
                if _has_keys(about / device.name / "device/capabilities/key"):
                    with suppress(OSError):
                        files.append(os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
                        opened.callback(os.close, files[-1])
            if not files:
                return True
            if not select.select(files, [], [], quiet)[0]:
                return True
        if time.monotonic() + quiet > end:
            return False
        time.sleep(min(5.0, quiet))


def _has_keys(capabilities: Path) -> bool:
    """Say whether a device has keys or buttons: what measures how a laptop is held speaks without end."""
    try:
        return bool(capabilities.read_text(encoding="ascii").strip("0 \n"))
    except (OSError, ValueError):
        return False
