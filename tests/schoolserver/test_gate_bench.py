# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gate and its jail add to a session: the same rsync, confined and not, turn by turn.

In ssh's place stands what both sides start alike under the learner's uid, so nothing but the difference is left.
Through a real sshd the same is measured on a host (molecule/attacks/tests/test_cost.py).
"""

from __future__ import annotations

import compileall
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import filtering
import laptops
import school
from schoolserver import gate, registrar
from schoolserver.house import House
from schoolserver.permission import Permission
from schoolserver.settings import Accounts

pytestmark = pytest.mark.bench

UID, TREE, RUNS = 20000, "SHC11111111", 30
SSH = """#!/bin/sh
shift
exec setpriv --reuid={uid} --regid={uid} --clear-groups env -i SSH_ORIGINAL_COMMAND="$*" {start}
"""
# As programs/gate, but told where the school stands.
GATE = """#!/usr/bin/python3 -IS
import sys
sys.path.insert(0, {package!r})
from schoolserver import gate, jail
jail.FILTER = {filter!r}
gate.USERS, gate.SOCKETS = {users!r}, {top!r}
sys.exit(gate.main())
"""
# It receives as the gate does: else two different things would be compared.
BARE = (
    "/usr/bin/rsync --server -ltrze.iLsfxCIvu --timeout=160 --delete --partial -p --chmod=D755,F644 . {tree}/power-logs"
)
COLUMNS = ("unconfined", "in the jail")


@dataclass(frozen=True)
class Ground:
    """A learner's tree, and for each of COLUMNS what stands in ssh's place."""

    top: Path

    def push(self, which: str) -> float:
        """Push the Journal with the old client's words and return the milliseconds that it took."""
        command = ["rsync", "-z", "-rlt", "--partial", "--delete", "--timeout=160", "-e", str(self.top / which),
                   f"{self.top}/journal/", "schoolserver:power-logs"]  # fmt: skip
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        taken = 1000 * (time.monotonic() - started)
        assert done.returncode == 0, done.stderr
        return taken


@pytest.fixture
def ground() -> Iterator[Ground]:
    if os.geteuid() != 0:
        pytest.skip("only root can become a learner")
    if missing := [one for one in ("bwrap", "rsync", "setpriv") if shutil.which(one) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    top = Path(tempfile.mkdtemp(prefix="xs-bench-"))
    top.chmod(0o755)
    house = House(*(top / name for name in ("users", "state", "extrausers", "keys")))
    for directory in (house.users, house.state, house.extrausers, house.keys):
        directory.mkdir(0o755)
    registrar.register(laptops.message(TREE, laptops.dsa(0)), house)
    tree = house.users / TREE
    shutil.copytree(Path(gate.__file__).parent, top / "package" / "schoolserver")
    compileall.compile_dir(top / "package", quiet=1)  # as dpkg does; a learner could not
    for number in range(5):
        school.write_document(top / "journal", school.uid(number))
    places = {"package": str(top / "package"), "users": str(top / "users"), "top": str(top)}
    (top / "gate").write_text(GATE.format(**places, filter=str(filtering.filter_file())))
    starts = (BARE.format(tree=tree), f"{top}/gate -c 'gate {TREE}'")
    for which, start in zip(COLUMNS, starts, strict=True):
        (top / which.replace(" ", "-")).write_text(SSH.format(uid=UID, start=start))
    for program in top.iterdir():
        program.chmod(0o755)
    permission = Permission(Accounts(), house.state / "registry.db", house.users)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(top / "place"))
        (top / "place").chmod(0o666)
        listener.listen()
        threading.Thread(target=permission.seat_all, args=(listener,), daemon=True).start()
        yield Ground(top)
    shutil.rmtree(top)


def test_what_the_gate_and_its_jail_add_to_a_session(ground: Ground) -> None:
    times: dict[str, list[float]] = {which: [] for which in COLUMNS}
    for run in range(RUNS + 1):  # alternating, so that what else the machine does falls on both
        for which in COLUMNS if run % 2 else reversed(COLUMNS):
            times[which].append(ground.push(which.replace(" ", "-")))
    medians = [statistics.median(times[which][1:]) for which in COLUMNS]  # the first one warms up
    pairs = statistics.median(b - a for a, b in zip(*times.values(), strict=True))
    for which, median in zip(COLUMNS, medians, strict=True):
        print(f"\n{which}: median {median:.1f} ms of {RUNS} pushes", end="")
    print(f"\na session costs {medians[1] - medians[0]:.1f} ms more (median of pairs {pairs:.1f})")
    assert medians[1] - medians[0] < 500, "far from what it was measured to be"
