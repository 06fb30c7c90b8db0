#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a laptop fresh from its box for one child: an ordinary user with a running session, and nothing else.

Run as root: `new_laptop.py <user>`. Whatever that user had before is gone, so a journey can start again at any time.
"""

from __future__ import annotations

import pwd
import shutil
import subprocess
import sys
import time
from pathlib import Path

from said import refuse, say

# Every program here finds the child's session as a Sugar started by the display manager would.
PROFILE = """
export LANG=C.UTF-8
export SUGAR_GROUP_LABELS=/usr/share/sugar/data/group-labels.defaults
export XDG_RUNTIME_DIR=/run/user/$(id -u)
export DBUS_SESSION_BUS_ADDRESS=unix:path=$XDG_RUNTIME_DIR/bus
"""


def main() -> None:
    """Replace the user named on the command line and say where the home lies."""
    if len(sys.argv) != 2:
        refuse("name the child's user: new_laptop.py <user>")
    user = sys.argv[1]
    forget(user)
    run("useradd", "--create-home", "--shell", "/bin/bash", user)
    account = pwd.getpwnam(user)
    home = Path(account.pw_dir)
    with (home / ".profile").open("a", encoding="ascii") as profile:
        profile.write(PROFILE)
    # What old clients also send: their logs (a client of 2013 has them) and the folder of plain files.
    for folder, file, text in (
        ("power-logs", "pwr-1.csv", "time,volts\n"),
        ("Documents", "letter.txt", "Dear aunt,\n"),
    ):
        (home / folder).mkdir()
        (home / folder / file).write_text(text, encoding="ascii")
        run("chown", "-R", f"{user}:", str(home / folder))
    run("loginctl", "enable-linger", user)
    # logind forgets a user only ten seconds after the last session: within these it would not start the session again.
    run("systemctl", "start", f"user@{account.pw_uid}.service")
    wait_for(Path(f"/run/user/{account.pw_uid}/bus"))
    say({"user": user, "home": str(home)})


def forget(user: str) -> None:
    """End the user's session and remove the user with the whole home, if there is one."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return
    if account.pw_uid < 1000:
        refuse(f"{user} is no child of this laptop (uid {account.pw_uid}); name another user")
    run("loginctl", "disable-linger", user)
    run("systemctl", "stop", f"user@{account.pw_uid}.service")
    run("userdel", user)
    shutil.rmtree(account.pw_dir)


def run(*command: str) -> None:
    """Run `command`; raise CalledProcessError if it fails."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def wait_for(socket: Path) -> None:
    """Wait at most twenty seconds until `socket` is there."""
    end = time.monotonic() + 20
    while not socket.is_socket():
        if time.monotonic() > end:
            refuse(f"the session did not start: {socket} is missing; see journalctl -b")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
