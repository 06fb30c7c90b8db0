# SPDX-License-Identifier: GPL-3.0-or-later
"""How much a learner may put on the server, and how full it may get: watched while rsync writes.

The kernel's quotas are no help: btrfs's make every deletion crawl (DESIGN.md section 5), others are not in every
kernel. So the gate has the learner's directories counted by `find`, which walks any depth without following a link, and
ends the session that goes too far. The next one may then only delete, until there is room again.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections import namedtuple

_FILE = "usage"  # in .state
_FIND = "/usr/bin/find"
_COUNT_EVERY = 5.0  # seconds between two counts; with the count itself an overshoot stays below ten seconds of transfer
_LOOK_EVERY = 0.25  # seconds between two looks at the free space, which cost nothing: 50 MB of a fast network
_ALL = 1 << 62  # bytes: more than anybody may have
COUNTED = ("datastore-current", "documents", "power-logs", "keepsakes")
# What cannot be looked into cannot be counted: a size below zero, instead of a place to hide in.
_SIZES = ("-type", "d", "(", "!", "-readable", "-o", "!", "-executable", ")", "-printf", "-1\\n", "-o",
          "-printf", "%s %b\\n")  # fmt: skip


class Limits(namedtuple("Limits", "files bytes stop_percent")):
    """What one learner may have, and how full the disk may get."""

    files: int
    bytes: int
    stop_percent: int


class Usage(namedtuple("Usage", "files bytes")):
    """What a learner has: names of any kind, and the bytes that they claim to hold."""

    files: int
    bytes: int

    def over(self, limits: Limits) -> str:
        """Return in words what is too much, "" when nothing is."""
        if self.files > limits.files:
            return f"more than {limits.files} files"
        if self.bytes > limits.bytes:
            return f"more than {limits.bytes // 1_000_000} MB"
        return ""


class Ended(namedtuple("Ended", "code usage why")):
    """How a watched command ended."""

    code: int  # its exit code, 128 and more for a signal
    usage: Usage  # by the last count that was finished
    why: str  # why it was ended before its time, "" when it was not


class Count:
    """One count under way: `find` at the other end of a pipe, which is read as it comes."""

    def __init__(self, places: list[str], limits: Limits) -> None:
        """Start to count what is below the directories `places`; more than `limits` need not be counted to its end."""
        self.pipe, write = os.pipe()
        nothing, out = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0), (os.POSIX_SPAWN_DUP2, write, 1)
        self._find = os.posix_spawn(_FIND, [_FIND, *places, *_SIZES], {}, file_actions=[out, nothing])
        os.close(write)
        self._limits = limits
        self._rest = b""
        self._usage = Usage(0, 0)

    def read(self) -> Usage | None:
        """Wait for what `find` says next; return the result when that was all, else None."""
        piece = os.read(self.pipe, 65536)
        self._usage = add(self._usage, *(self._rest + piece).split(b"\n")[:-1])
        self._rest = (self._rest + piece).rpartition(b"\n")[2]
        if piece and not self._usage.over(self._limits):
            return None
        self.stop()
        return self._usage

    def stop(self) -> None:
        """End it, wherever it is."""
        if self.pipe >= 0:
            os.kill(self._find, signal.SIGKILL)
            os.waitpid(self._find, 0)
            os.close(self.pipe)
            self.pipe = -1


def add(usage: Usage, *sizes: bytes) -> Usage:
    """Return `usage` with what `find` printed, a line a name; what could not be looked into is more than all."""
    numbers = [_larger(line) for line in sizes]
    hidden = any(number < 0 for number in numbers)
    return Usage(usage.files + len(numbers), _ALL if hidden else usage.bytes + sum(numbers))


def _larger(line: bytes) -> int:
    """Return what a name claims to hold, or what it takes on the disk: room can be taken beyond the end of a file."""
    size, _, blocks = line.partition(b" ")
    return max(int(size), 512 * int(blocks)) if blocks else int(size)


def count(places: list[str], limits: Limits) -> Usage:
    """Return what is below the directories `places`; what is over `limits` is not counted to its end."""
    counting = Count(places, limits)
    while (usage := counting.read()) is None:
        pass
    return usage


def read_usage(state: int) -> Usage:
    """Return what the last session counted, from the .state of a tree; nothing where it left no count."""
    try:
        # The learner owns .state: a link there must not make root read another file, nor a pipe make it wait.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(_FILE, flags, dir_fd=state), encoding="ascii") as file:
            files, size = file.read(100).split()
        return Usage(int(files), int(size))
    except (OSError, ValueError):
        return Usage(0, 0)


def bytes_of(tree: str | os.PathLike[str]) -> int:
    """Return the bytes that the last session counted for the learner of the tree at `tree`; 0 where none ever did."""
    try:
        state = os.open(os.path.join(tree, ".state"), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return 0
    try:
        return max(0, read_usage(state).bytes)
    finally:
        os.close(state)


def write_usage(usage: Usage, state: int) -> None:
    """Leave `usage` in the .state of a tree for the next session; raise OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with open(os.open(_FILE, flags, 0o600, dir_fd=state), "w", encoding="ascii") as file:
        file.write(f"{usage.files} {usage.bytes}\n")


def used_percent(path: str) -> float:
    """Return how much of the file system at `path` is used, in percent of what its users can have: room or inodes."""
    status = os.statvfs(path)
    parts = [(status.f_bavail, status.f_blocks), (status.f_favail, status.f_files)]
    return max(100 * (1 - free / total) for free, total in parts if total)  # btrfs counts no inodes


def watch(jailed: int, places: list[str], limits: Limits, disk: str) -> Ended:
    """Wait for the process `jailed`; end its group when `places`, or the file system `disk`, hold too much.

    Those of `places` that are not there are empty.
    """
    exited = os.pidfd_open(jailed)
    counting, again = Count(places, limits), 0.0
    usage, why = None, ""
    while True:
        poll = select.poll()
        poll.register(exited, select.POLLIN)
        if counting.pipe >= 0:
            poll.register(counting.pipe, select.POLLIN | select.POLLHUP)
        ready = {descriptor for descriptor, _ in poll.poll(_LOOK_EVERY * 1000)}
        if counting.pipe in ready and (done := counting.read()):
            usage, again = done, time.monotonic() + _COUNT_EVERY
            why = usage.over(limits)
        if used_percent(disk) > limits.stop_percent:
            why = "more than the school server has room for"
        if exited in ready:
            break
        if why:
            os.killpg(jailed, signal.SIGKILL)
        elif counting.pipe < 0 and time.monotonic() > again:
            counting = Count(places, limits)
    while usage is None:  # each session is counted once: else many short ones would never be
        usage = counting.read()
    counting.stop()
    os.close(exited)
    code = os.waitstatus_to_exitcode(os.waitpid(jailed, 0)[1])
    return Ended(code if code >= 0 else 128 - code, usage, why)
