# SPDX-License-Identifier: GPL-3.0-or-later
"""How the client of 2008 to 2014 reaches its school server: the address that it was told, its serial, ssh and rsync."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from gi.repository import Gio
from sugar3 import env

from said import refuse

SENT = "Sending command: "  # ssh -v says so when it asks the server to run something


def host() -> str:
    """Return the server's name, out of the backup address in Sugar's settings, read as the old client reads it."""
    url = Gio.Settings.new("org.sugarlabs").get_string("backup-url")
    match = re.match(r"(\w+\@)?(\w|.+?):", url)
    if match is None:
        refuse(f"no backup host in {url!r}: register first")
    return str(match.group(2))


def serial() -> str:
    """Return the serial under which this laptop registered."""
    return Path(env.get_profile_path("identifiers/sn")).read_text(encoding="ascii")


def datastore() -> str:
    """Return where the Journal lies."""
    return str(env.get_profile_path("datastore"))


def ssh(log: str) -> list[str]:
    """Return the old client's ssh command. Of our own are only -v -E `log`, so that the log holds the words that the
    server was asked, and the offer of the DSA key, which OpenSSH 9 makes only when told to.
    """
    return [
        *("/usr/bin/ssh", "-v", "-E", log, "-o", "PubkeyAcceptedAlgorithms=+ssh-dss"),
        *("-F", "/dev/null", "-o", "PasswordAuthentication no", "-o", "StrictHostKeyChecking no"),
        *("-i", env.get_profile_path("owner.key"), "-l", serial()),
    ]


def rsync(*arguments: str) -> dict[str, str | int]:
    """Run the old client's rsync; return what the server was asked, the exit code and what was said."""
    return watched(lambda log: ["/usr/bin/rsync", "-z", "-rlt", "-e", shlex.join(ssh(log)), *arguments])


def watched(command: Callable[[str], list[str]]) -> dict[str, str | int]:
    """Run `command(log)`, whose ssh writes to `log`; return {"asked", "exit", "out", "err"}."""
    with tempfile.NamedTemporaryFile("r", prefix="ssh-") as log:
        done = subprocess.run(command(log.name), capture_output=True, text=True, check=False)
        asked = [line.rstrip("\r\n").split(SENT, 1)[1] for line in log if SENT in line]
    return {"asked": "; ".join(asked), "exit": done.returncode, "out": done.stdout, "err": done.stderr}
