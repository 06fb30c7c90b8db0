# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gate and its jail add to a session: the same rsync through one sshd, confined and not, turn by turn.

Both go through a real sshd on loopback, under one learner's uid, with a key of their own each; they differ in what the
key's line starts.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import school
from schoolserver import gate

pytestmark = pytest.mark.bench

UID, TREE, RUNS = 20000, "SHC11111111", 30
PUSH = "rsync --server -ltrze.iLsfxCIvu --timeout=160 --delete --partial . datastore-current"
# As programs/gate, but told where the school stands.
GATE = """#!/usr/bin/python3 -IS
import sys
from pathlib import Path
sys.path.insert(0, {package!r})
from schoolserver import gate, paths
paths.USERS, paths.SOCKETS = Path({users!r}), Path("/nonexistent")
sys.argv = ["gate", "-c", "gate {tree}"]
sys.exit(gate.main())
"""
SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {top}/host
PidFile none
UsePAM no
StrictModes no
AuthorizedKeysFile {top}/keys
PasswordAuthentication no
KbdInteractiveAuthentication no
"""
COLUMNS = ("unconfined", "in the jail")


@dataclass(frozen=True)
class Ground:
    """A learner's tree, and a way to push into it for each of COLUMNS."""

    top: Path
    port: int
    name: str

    def push(self, which: str) -> float:
        """Push the Journal as the old client does, and return the seconds that it took."""
        ssh = (
            f"ssh -F /dev/null -p {self.port} -l {self.name} -i {self.top}/{COLUMNS.index(which)} -o BatchMode=yes "
            "-o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        )
        command = ["rsync", "-z", "-rlt", "--partial", "--delete", "--timeout=160", "-e", ssh, f"{self.top}/journal/",
                   "127.0.0.1:datastore-current"]  # fmt: skip
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - started
        assert done.returncode == 0, done.stderr
        return seconds


@contextmanager
def learner() -> Iterator[str]:
    """The login name of an ordinary user with a learner's uid, for as long as this takes."""
    name = f"xs-bench-{os.getpid()}"
    subprocess.run(["groupadd", "--gid", str(UID), name], check=True)
    subprocess.run(
        ["useradd", "--uid", str(UID), "--gid", str(UID), "--no-create-home", "--home-dir", "/", "--shell", "/bin/sh",
         "--password", "*", name], check=True, capture_output=True,
    )  # fmt: skip
    try:
        yield name
    finally:
        subprocess.run(["userdel", name], check=False, capture_output=True)
        subprocess.run(["groupdel", name], check=False, capture_output=True)


@pytest.fixture
def ground() -> Iterator[Ground]:
    """sshd on a high port of loopback, whose two keys start the same rsync."""
    if os.geteuid() != 0:
        pytest.skip("only root can become a learner")
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if missing := [one for one in ("bwrap", "rsync", "ssh") if shutil.which(one) is None] + ([] if sshd else ["sshd"]):
        pytest.skip(f"not installed: {', '.join(missing)}")
    assert sshd
    top = Path(tempfile.mkdtemp(prefix="xs-bench-"))
    top.chmod(0o755)
    with learner() as name, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        tree = top / "users" / TREE
        for directory in ("datastore-current", ".state", "power-logs", "documents"):
            (tree / directory).mkdir(parents=True)
            os.chown(tree / directory, UID, UID)
        shutil.copytree(Path(gate.__file__).parent, top / "package" / "schoolserver")
        (top / "gate").write_text(GATE.format(package=str(top / "package"), users=str(top / "users"), tree=TREE))
        (top / "gate").chmod(0o755)
        for number in range(5):
            school.write_document(top / "journal", school.uid(number))
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", top / "host"], check=True)
        lines = []
        # The unconfined one receives as the gate does: else two different things would be compared.
        bare = PUSH.replace(" . ", " -p --chmod=D755,F644 . ")
        for number, start in enumerate((f"cd {tree} && exec {bare}", f"{top}/gate")):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", top / str(number)], check=True)
            lines.append(f'restrict,command="{start}" {(top / f"{number}.pub").read_text()}')
        (top / "keys").write_text("".join(lines))
        (top / "sshd").write_text(SSHD.format(port=port, top=top))
        Path("/run/sshd").mkdir(exist_ok=True)
        server = subprocess.Popen([sshd, "-D", "-e", "-f", str(top / "sshd")], stderr=(top / "log").open("w"))
        try:
            wait_for(port)
            yield Ground(top, port, name)
        finally:
            server.terminate()
            server.wait()
            shutil.rmtree(top)


def wait_for(port: int) -> None:
    """Return when somebody listens on `port`."""
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("sshd does not start")


def test_what_the_gate_and_its_jail_add_to_a_session(ground: Ground) -> None:
    """Alternating, so that what else the machine does falls on both."""
    for which in COLUMNS:
        ground.push(which)
    times: dict[str, list[float]] = {which: [] for which in COLUMNS}
    for run in range(RUNS):
        for which in COLUMNS if run % 2 else reversed(COLUMNS):
            times[which].append(1000 * ground.push(which))
    medians = {which: statistics.median(times[which]) for which in COLUMNS}
    added = statistics.median(b - a for a, b in zip(*times.values(), strict=True))
    for which in COLUMNS:
        print(f"\n{which}: median {medians[which]:.1f} ms of {RUNS} runs, {min(times[which]):.1f} at best", end="")
    print(
        f"\na session costs {medians[COLUMNS[1]] - medians[COLUMNS[0]]:.1f} ms more (median of the pairs: {added:.1f})"
    )
    sys.stdout.flush()
    assert added < 500, "far from what it was measured to be"
