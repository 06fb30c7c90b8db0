# SPDX-License-Identifier: GPL-3.0-or-later
"""A laptop with a child and a Journal, as its package sees it; nobody draws on it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from testinfra.host import Host

from lab import places
from on_laptop import put

LAB = "updates"
JOURNAL = "/home/olpc/.sugar/default/datastore"
DOCUMENTS = 10


class Laptop:
    """One laptop, `name` in the lab, `serial` to the school."""

    def __init__(self, host: Host, name: str, serial: str) -> None:
        self.host = host
        self.name = name
        self.serial = serial
        put(host, places.MOLECULE / "updates" / "laptop")
        host.check_output("/opt/laptop/make_child.py")
        host.check_output("mkdir -p /etc/xo-client && echo %s >/etc/xo-client/serial", serial)

    def runs(self, command: str, ends: int = 0) -> str:
        """Run `command` as root; it must end with the exit code `ends`. Return what it printed."""
        done = self.host.run(command)
        assert done.rc == ends, f"{command} ended {done.rc}: {done.stdout}{done.stderr}"
        return str(done.stdout)

    def as_child(self, command: str, ends: int = 0) -> str:
        """Run `command` as the child; it must end with the exit code `ends`. Return what it printed."""
        return self.runs(f"runuser -l olpc -c '{command}'", ends)

    def backs_up(self) -> None:
        """Back the Journal up now: the first time registers."""
        self.as_child("xo-backup now --anyway --progress none")

    def status(self) -> dict[str, Any]:
        """Return what the child's own `xo-backup status` says."""
        said = json.loads(self.as_child("xo-backup status --json"))
        assert isinstance(said, dict)
        return said

    def version(self) -> str:
        """Return the version that is installed, "" without one."""
        found = self.host.run("dpkg-query --showformat='${db:Status-Abbrev}${Version}' --show xo-client").stdout
        return str(found)[3:] if str(found).startswith("ii ") else ""

    def pulls(self) -> dict[str, Any]:
        """Look for an update as the timer does; return what came of it."""
        self.runs("systemctl start xo-update.service")
        said = json.loads(self.host.file("/var/lib/xo-client/update.json").content_string)
        assert isinstance(said, dict)
        return said

    def documents(self) -> int:
        """Return how many documents are in the Journal."""
        return int(self.runs(f"ls -d {JOURNAL}/??/* | wc -l"))

    # Where a laptop may be: shut, its disk full.

    def sleeps(self, container: str) -> None:
        """Shut the lid: the network is gone."""
        subprocess.run(["podman", "exec", container, "ip", "link", "set", "eth0", "down"], check=True)

    def wakes(self, container: str) -> None:
        """Open the lid."""
        subprocess.run(["podman", "exec", container, "ip", "link", "set", "eth0", "up"], check=True)
