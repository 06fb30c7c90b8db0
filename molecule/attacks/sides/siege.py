# SPDX-License-Identifier: GPL-3.0-or-later
"""What the groups of attacks share: what Jim has to lose, who watches over it, and a server whose rsync is Eve's."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from eve import Eve
from ground import Ground
from laptop import Laptop

LAB = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"], "build/lab", os.environ["MOLECULE_SCENARIO_NAME"])
LOGS = LAB.parents[1] / "logs"  # what is to be read afterwards: the lab goes with its hosts
SECRET = f"what only Jim may read {secrets.token_hex(8)}"
HOSTILE = "/root/hostile"
Refuse = Callable[..., str]


def with_history(laptop: Laptop, text: str) -> str:
    """Give `laptop` three documents that say `text`, two snapshots and a keepsake; return the uid of that."""
    assert laptop.register()["success"] == "OK"
    names = [laptop.write(text) for _ in range(3)]
    for name in names:
        (laptop.datastore / name[:2] / name / "data").write_text(f"{text}\n" * 1000)
    laptop.back_up()
    laptop.delete(names[0])
    laptop.back_up()
    return names[0]


class Guard:
    """Knows what Eve must not change, and serves Jim in between."""

    def __init__(self, server: Ground, jim: Laptop, eve: Eve) -> None:
        self._server, self._jim, self._eve = server, jim, eve
        self._before = self._look()

    def check(self) -> None:
        """Fail unless nothing of Jim's or the server's has changed."""
        assert self._look() == self._before

    def serve(self, *, write: bool = True) -> None:
        """Fail unless nothing has changed, and Jim backs up and reads everything back."""
        self.check()
        assert self._server.failed_units() == []
        if write:
            self._jim.write("One more story", 2000)
        self._jim.back_up()
        assert self._jim.read("datastore-latest/") == self._jim.journal()
        self._before = self._look()

    def renew(self) -> None:
        """What was registered meanwhile belongs to the server as well."""
        self._before = self._look()

    def _look(self) -> list[str]:
        return self._server.fingerprint(self._jim.serial, self._eve.laptop.serial)


@contextmanager
def hostile_rsync(server: Ground) -> Iterator[None]:
    """A server whose rsync is Eve's: whatever Python she sends is run in its place."""
    program = "#!/usr/bin/python3 -IS\nimport sys\nexec(sys.stdin.read())\n"
    server.run(f"printf '%s' '{program}' >{HOSTILE} && chmod 755 {HOSTILE} && mount --bind {HOSTILE} /usr/bin/rsync")
    try:
        yield
    finally:
        server.run(f"umount /usr/bin/rsync && rm {HOSTILE}")


@contextmanager
def no_filter(server: Ground) -> Iterator[None]:
    """A jail in which every system call is let through: what the other walls stop by themselves."""
    # One instruction, "return SECCOMP_RET_ALLOW" (linux/filter.h, linux/seccomp.h).
    everything, file = f"{HOSTILE}.bpf", "/usr/lib/schoolserver/jail.bpf"
    server.run(f"printf '\\006\\0\\0\\0\\0\\0\\377\\177' >{everything} && mount --bind {everything} {file}")
    try:
        yield
    finally:
        server.run(f"umount {file} && rm {everything}")
