# SPDX-License-Identifier: GPL-3.0-or-later
"""What a full restore costs against rsync alone (make bench): the same thousand documents, turn by turn, on one disk.

In ssh's place stands a program with the gate's grammar, for both. Each time ends when all is on the disk. rsync alone
neither plans nor looks at what came, and leaves a Journal that is half the old and half the new where it is killed.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server_side import STAMP, School
from synthetic import Journal
from xo_client import cli_restore
from xo_client.state import State

pytestmark = pytest.mark.bench

DOCUMENTS, TARGET = 1000, 1.15
# How the server is reached, bytes a second, runs. No laptop is on a network that is as fast as a pipe.
LINKS = [("a pipe", 10**12, 5), ("wireless, 40 Mbit/s", 5_000_000, 3)]
# In ssh's place, before the one with the grammar: no more than SPEED bytes a second come from the server.
SLOWED = """#!{python}
import os, subprocess, sys, time
ssh = subprocess.Popen([{ssh!r}, *sys.argv[1:]], stdout=subprocess.PIPE)
os.set_blocking(1, True)
speed, sent, began = int(os.environ["SPEED"]), 0, time.monotonic()
while block := os.read(ssh.stdout.fileno(), 65536):
    while block:
        written = os.write(1, block)
        block, sent = block[written:], sent + written
    time.sleep(max(began + sent / speed - time.monotonic(), 0))
sys.exit(ssh.wait())
"""
PACKAGE = str(Path(cli_restore.__file__).parent.parent)
PROGRAM = f"import sys; sys.path.insert(0, {PACKAGE!r}); from xo_client.cli_restore import main; sys.exit(main())"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A laptop's disk of its own, so that nobody else's files are flushed with ours."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    image, root = tmp_path / "image", tmp_path / "root"
    root.mkdir()
    subprocess.run(["truncate", "--size", "1G", str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop,noatime", str(image), str(root)], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_a_full_restore_against_rsync_of_the_same_tree(tmp_path: Path, disk: Path) -> None:
    school = School(tmp_path / "school")
    snapshot = school.snapshot()
    Journal(snapshot).make(DOCUMENTS)
    slowed = tmp_path / "slowed"
    slowed.mkdir()
    (slowed / "ssh").write_text(SLOWED.format(python=sys.executable, ssh=str(school.bin / "ssh")))
    (slowed / "ssh").chmod(0o755)
    home = disk / "home"
    profile = home / ".sugar" / "default"
    environment = {**os.environ, "HOME": str(home), "PATH": f"{slowed}:{os.environ['PATH']}"}
    xo_restore = [sys.executable, "-c", PROGRAM, "--progress", "json"]

    def timed(*command: str) -> float:
        started = time.monotonic()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["sync", "--file-system", str(disk)], check=True)
        return time.monotonic() - started

    def clean() -> None:
        shutil.rmtree(home, ignore_errors=True)
        (profile / "datastore").mkdir(parents=True)
        state = State(profile)
        state.write("registered", {"login": "ABC12345678", "host": "schoolserver"})
        state.key.touch()
        subprocess.run(["sync", "--file-system", str(disk)], check=True)

    for link, speed, runs in LINKS:
        plain = [
            "rsync",
            "-z",
            "-rlt",
            "-e",
            str(slowed / "ssh"),
            f"school:datastore/{STAMP}/",
            f"{profile}/datastore/",
        ]
        environment["SPEED"] = str(speed)
        ours, theirs = [], []
        for _ in range(runs):
            clean()
            theirs.append(timed(*plain))
            clean()
            ours.append(timed(*xo_restore))
            assert sum(1 for _ in profile.glob("datastore/??/*")) == DOCUMENTS
        again = timed(*xo_restore)
        our, their = statistics.median(ours), statistics.median(theirs)
        print(
            f"\n{DOCUMENTS} documents over {link}, median of {runs}: xo-restore {our:.2f} s, rsync alone {their:.2f} s"
        )
        print(f"ratio {our / their:.2f} (target {TARGET}); when nothing is missing {again:.2f} s")
    print(f"largest process {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB")
