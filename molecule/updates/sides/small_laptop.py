# SPDX-License-Identifier: GPL-3.0-or-later
"""A laptop with a child and a Journal, as its package sees it; nobody draws on it."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

from testinfra.host import Host

from lab import hosts, places
from on_laptop import put

LAB = "updates"
JOURNAL = "/home/olpc/.sugar/default/datastore"
DOCUMENTS = 10
WAY_BACK = "/etc/systemd/system/multi-user.target.wants/xo-update-back.service"
KEPT = "/root/kept"
RECORD = "/var/lib/xo-client/update.json"


class Laptop:
    """One laptop, `name` in the lab, `serial` to the school."""

    def __init__(self, host: Host, name: str, serial: str) -> None:
        self.host = host
        self.name = name
        self.serial = serial
        self.disk = ""

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

    # What may be with a laptop: shut, its disk full or broken.

    def sleeps(self) -> None:
        """Shut the lid: the network is gone."""
        self._link("down")

    def wakes(self) -> None:
        """Open the lid."""
        self._link("up")

    def has_a_small_disk(self, at: str) -> None:
        """Have the directory `at` on a small disk of its own from now on."""
        self.disk = at
        self.runs("truncate --size=1G /root/disk && mkfs.ext4 -q -m 0 /root/disk && mount -o loop /root/disk /mnt")
        self.runs(f"cp -a {at}/. /mnt/ && umount /mnt && mount -o loop /root/disk {at}")

    def fills_it(self) -> None:
        """Leave no room on the small disk, not even root's."""
        assert "No space left" in self.host.run(f"dd if=/dev/zero of={self.disk}/film bs=1M").stderr

    def cannot_write_it(self) -> None:
        """Have the kernel find something wrong with the small disk."""
        self.runs(f"sync && mount -o remount,ro {self.disk}")

    def has_its_own_disk_again(self) -> None:
        """Take the small disk away."""
        self.runs(f"umount --lazy {self.disk} && rm /root/disk")

    def loses_power_in_an_update(self, seconds: float) -> None:
        """Lose power `seconds` after an update has begun to change something, and start again."""
        self.runs("systemctl start --no-block xo-update.service")
        self.runs(f"timeout 120 sh -c 'until test -L {WAY_BACK}; do sleep 0.05; done'")
        time.sleep(seconds)
        hosts.cut_power(LAB, self.name)

    def is_whole(self) -> None:
        """Have one version, all of it, that works, and nothing that waits for the next start."""
        self.runs(f"! test -L {WAY_BACK}")
        assert self.version()
        assert not self.runs("dpkg --audit")
        # A lab host keeps no documentation.
        assert not self.runs("dpkg --verify xo-client xo-school | grep -v ' /usr/share/doc/' || true")
        self.as_child("xo-backup self-check")
        self.runs("/usr/lib/xo-client/update self-check")

    def keeps_its_version(self) -> None:
        """Make a package of the version that is installed, for `gets_it_again`."""
        repack = (
            f"from pathlib import Path; from xo_client import apt; apt.repack('xo-client', Path('{KEPT}/kept.deb'))"
        )
        self.runs(f'mkdir -p {KEPT} && python3 -c "{repack}"')

    def gets_it_again(self) -> None:
        """Have the version that it kept, and no memory of another."""
        self.runs(f"dpkg --install {KEPT}/kept.deb && rm -f {RECORD}")

    def _link(self, state: str) -> None:
        inside = ["podman", "exec", hosts.container(LAB, self.name)]
        subprocess.run([*inside, "ip", "link", "set", "eth0", state], check=True)
