# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter around programs that ask the kernel for what rsync never asks, under a real bubblewrap without walls."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

import filtering
from schoolserver import syscall_filter

# How each refused call is made, so that the kernel without the filter answers something other than ENOSYS.
TRIES = {
    "socket": "socket.socket(socket.AF_UNIX)",
    "setxattr": "os.setxattr(HERE + '/x', 'user.x', b'x')",
    "flock": "fcntl.flock(os.open(HERE + '/x', os.O_RDONLY), fcntl.LOCK_UN)",
    "mknod": "os.mkfifo(HERE + '/pipe')",
    "ptrace": "c('ptrace', 16, 1, 0, 0)",
    "unshare": "c('unshare', 0x20000)",
    "clone": "c('syscall', 56, 0x10000000 | 17, 0, 0, 0, 0) or os._exit(0)",
    "mount": "c('mount', b'x', b'/', b'tmpfs', 0, 0)",
    "setpriority": "os.nice(1)",
    "ioprio_set": "c('syscall', 251, 1, 0, 2 << 13)",
    "io_uring_setup": "c('syscall', 425, 1, bytes(120))",
    "bpf": "c('syscall', 321, 5, bytes(128), 128)",
    "keyctl": "c('syscall', 250, 0, -3, 0)",
    "memfd_create": "os.memfd_create('x')",
    "ioctl": "fcntl.ioctl(os.open(HERE, os.O_RDONLY), 0x80086601, bytearray(8))",
}
HOSTILE = """
import ctypes, fcntl, json, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def c(function, *words):
    result = getattr(libc, function)(*words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def errno_of(what):
    try:
        what()
    except OSError as error:
        return error.errno
    return 0
"""


def tried(where: Path, filter_file: Path | None) -> dict[str, int]:
    """What each of TRIES ends with: an errno, 0 where the kernel did it."""
    where.mkdir(exist_ok=True)
    (where / "x").touch()
    lines = "".join(f"said[{name!r}] = errno_of(lambda: {how})\n" for name, how in TRIES.items())
    script = f"{HOSTILE}HERE = {str(where)!r}\nsaid = {{}}\n{lines}print(json.dumps(said))"
    jail = ["bwrap", "--bind", "/", "/", *(("--seccomp", "0") if filter_file else ()), "/usr/bin/python3", "-IS", "-c",
            script]  # fmt: skip
    done = subprocess.run(
        f"{shlex.join(jail)} <{filter_file or os.devnull}", shell=True, capture_output=True, text=True, check=True
    )
    return {str(name): int(number) for name, number in json.loads(done.stdout).items()}


def test_what_rsync_never_asks_for_is_not_there(tmp_path: Path) -> None:
    refused = tried(tmp_path / "here", filtering.filter_file())
    assert set(refused) == {*syscall_filter.REFUSED, "ioctl", "clone"}
    assert {name for name, number in refused.items() if os.strerror(number) != "Function not implemented"} == set()


def test_without_the_filter_the_kernel_answers_otherwise(tmp_path: Path) -> None:
    """Else the test above would pass on a kernel that has none of them, and say nothing of the filter."""
    answered = tried(tmp_path / "here", None)
    there = {name for name, number in answered.items() if os.strerror(number) != "Function not implemented"}
    assert there >= {"socket", "setxattr", "flock", "mknod", "unshare", "mount", "setpriority", "ioprio_set", "clone"}


@pytest.mark.parametrize("options", ["-rlt --delete --partial", "-rlt --append", "-rlt --inplace --sparse", "-rlptgoH"])
def test_rsync_does_its_work_under_it(tmp_path: Path, options: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "below").mkdir(parents=True)
    (source / "file").write_bytes(os.urandom(300_000))
    (source / "below" / "link").symlink_to("../file")
    target.mkdir()
    (target / "old").touch()
    (target / "file").write_bytes((source / "file").read_bytes()[:1000])
    shell = tmp_path / "server"
    shell.write_text(
        f'#!/bin/sh\nshift\nexec bwrap --bind / / --seccomp 9 -- "$@" 9<{shlex.quote(str(filtering.filter_file()))}\n'
    )
    shell.chmod(0o755)
    command = ["rsync", *options.split(), "-e", str(shell), f"{source}/", f"school:{target}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (target / "file").read_bytes() == (source / "file").read_bytes()
    assert (target / "below" / "link").readlink() == Path("../file")
    assert (target / "old").exists() == ("--delete" not in options)


def test_the_same_program_is_written_each_time(tmp_path: Path) -> None:
    """The package is the same bytes on every machine and every day."""
    assert filtering.filter_file().read_bytes() == filtering.filter_file(tmp_path).read_bytes()
    assert filtering.filter_file().stat().st_size % 8 == 0
