# SPDX-License-Identifier: GPL-3.0-or-later
"""What gate and jail cost: the same push through the same sshd, to a laptop's account and to an ordinary one."""

from __future__ import annotations

import shlex
import statistics
import subprocess
import time
from collections.abc import Iterator

import pytest

from eve import PUSH, Eve
from ground import Ground
from siege import LAB, LOGS, Guard

NAME, HOME, RUNS = "unconfined", "/library/unconfined", 30


@pytest.fixture
def ordinary(server: Ground, eve: Eve, guard: Guard) -> Iterator[None]:
    """An ordinary account on the library's disk, whose key line starts the same rsync and nothing else."""
    # It receives as the gate does: else two different things would be compared.
    start = PUSH.replace(" . ", " -p --chmod=D755,F644 . ")
    line = f'restrict,command="{start}" ssh-ed25519 {eve.laptop.pubkey}'
    server.run(
        f"useradd --create-home --home-dir {HOME} --shell /bin/sh {NAME} && usermod --password '*' {NAME} && "
        f"install -d -o {NAME} -m 700 {HOME}/.ssh && echo {shlex.quote(line)} >{HOME}/.ssh/authorized_keys"
    )
    yield
    server.run(f"userdel --remove {NAME} 2>/dev/null; ! id {NAME} 2>/dev/null")
    guard.renew()  # useradd leaves spare copies of its files


def test_a_session_costs_little_more_than_an_unconfined_one(server: Ground, eve: Eve, ordinary: None) -> None:
    """Alternating, so that what else the machine does falls on both."""
    logins = {"unconfined": NAME, "in the jail": eve.laptop.serial}
    source = LAB / "cost"
    source.mkdir(exist_ok=True)
    (source / "version").write_text("6")

    def push(login: str) -> float:
        eve.laptop.login = login
        command = ["rsync", "-z", "-rlt", "--partial", "--delete", "--timeout=160", "-e", shlex.join(eve.laptop._ssh())]
        started = time.monotonic()
        # Not what has a history: that would wait for its snapshot.
        target = "datastore-current" if login == NAME else "power-logs"
        done = subprocess.run([*command, f"{source}/", f"{server.address}:{target}"], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return 1000 * (time.monotonic() - started)

    try:
        times: dict[str, list[float]] = {which: [] for which in logins}
        for run in range(RUNS + 1):
            for which in logins if run % 2 else reversed(logins):
                times[which].append(push(logins[which]))
    finally:
        eve.laptop.login = ""
    medians = {which: statistics.median(taken[1:]) for which, taken in times.items()}  # the first one warms up
    pairs = statistics.median(b - a for a, b in zip(*times.values(), strict=True))
    lines = [f"{which}: median {median:.1f} ms of {RUNS} pushes" for which, median in medians.items()]
    lines.append(f"a session costs {medians['in the jail'] - medians[NAME]:.1f} ms more (median of pairs {pairs:.1f})")
    (LOGS / "attacks-cost.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert medians["in the jail"] - medians[NAME] < 250, lines
