# SPDX-License-Identifier: GPL-3.0-or-later
"""A laptop with a child and a Journal, as its package sees it; nobody draws on it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from testinfra.host import Host

from lab import hosts, places
from on_laptop import put

LAB = "updates"
JOURNAL = "/home/olpc/.sugar/default/datastore"
DOCUMENTS = 10
RECORD = "/var/lib/xo-client/update.json"


class Laptop:
    """One laptop, `name` in the lab, `serial` to the school."""

    def __init__(self, host: Host, name: str, serial: str) -> None:
        self.host = host
        self.name = name
        self.serial = serial

    def gets_a_child(self) -> None:
        """Become a laptop on which a child has worked."""
        put(self.host, places.MOLECULE / "updates" / "laptop")
        self.runs("/opt/laptop/make_child.py")
        self.runs(f"mkdir -p /etc/xo-client && echo {self.serial} >/etc/xo-client/serial")

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
        """Look for an update as the timer does; return what came of it: `later` where the laptop wrote nothing down."""
        before = self.host.run(f"stat --format=%y {RECORD}").stdout
        self.host.run("systemctl start xo-update.service")  # it fails with the update, for whoever looks at units
        if self.host.run(f"stat --format=%y {RECORD}").stdout == before:
            return {"outcome": "later"}
        said = json.loads(self.host.file(RECORD).content_string)
        assert isinstance(said, dict)
        return said

    def documents(self) -> int:
        """Return how many documents are in the Journal."""
        return int(self.runs(f"ls -d {JOURNAL}/??/* | wc -l"))

    # Where a laptop may be: shut, its disk full.

    def sleeps(self) -> None:
        """Shut the lid: the network is gone."""
        self._link("down")

    def wakes(self) -> None:
        """Open the lid."""
        self._link("up")

    def _link(self, state: str) -> None:
        inside = ["podman", "exec", hosts.container(LAB, self.name)]
        subprocess.run([*inside, "ip", "link", "set", "eth0", state], check=True)
