# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that forgets, when the power goes, all that it was not told to flush.

    file system ── loop device ── nbdfuse ── nbdkit, whose cache writes to the image only what is flushed

nbdkit is the disk with its cache: killed, it drops what a disk without power drops. The kernel's own memory goes with
the file system, which is taken off while its disk no longer answers.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import crashing
from crashing import Action, Call

_PROGRAMS = ("nbdkit", "nbdfuse", "mount", "umount")
_MEGABYTES = 320  # of the disk, less xfs does not take; its image takes only what was written
_MAKE = {
    "btrfs": ("mkfs.btrfs", "--quiet"),
    "ext4": ("mkfs.ext4", "-q", "-E", "lazy_itable_init=1"),
    "xfs": ("mkfs.xfs", "-q"),
}  # fmt: skip
_OPTIONS = "loop,noatime,nosuid,nodev,noexec"  # as roles/xs_library mounts the library
_MORE_OPTIONS = {"btrfs": ",compress=zstd,noacl"}
_START_SYNC, _WAIT_SYNC = 0x80089418, 0x40089416  # linux/btrfs.h: begin a commit, wait for its end
_SECONDS = 30.0  # for what takes a tenth of one


def missing(kind: str = "btrfs") -> str:
    """Return why there can be no such disk with a file system of this `kind` here, or "" if there can."""
    if os.geteuid() != 0:
        return "only root can mount a disk"
    if absent := [program for program in (_MAKE[kind][0], *_PROGRAMS) if shutil.which(program) is None]:
        return f"{', '.join(absent)} missing: make setup"
    return "" if Path("/dev/fuse").exists() else "this kernel or container has no /dev/fuse"


class Disk:
    """A file system of this `kind` at `root` on such a disk, all in `directory`; leaving the context takes it off.

    with Disk(directory) as disk:
        disk.make()
        (disk.root / "file").write_text("never flushed")
        disk.cut()
        disk.start()  # the file is not there
    """

    def __init__(self, directory: Path, kind: str = "btrfs") -> None:
        self.root = directory / "root"
        self._kind = kind
        self._image = directory / "image"
        self._fuse = directory / "fuse"
        self._processes: list[subprocess.Popen[bytes]] = []  # nbdkit, nbdfuse
        for place in (self.root, self._fuse):
            place.mkdir(parents=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    def make(self) -> None:
        """Begin with an empty file system, and mount it."""
        with self._image.open("wb") as file:
            file.truncate(_MEGABYTES * 1024**2)
        _run(*_MAKE[self._kind], self._image)
        self.start()

    def start(self) -> None:
        """Mount it, as a machine does that comes up."""
        disk = self._fuse / "disk"
        ours, theirs = socket.socketpair()
        with ours, theirs:
            # Whatever becomes of us, the two end: nbdkit with its parent, nbdfuse with nbdkit.
            command = ["nbdkit", "--exit-with-parent", "--single", *self._server()]
            file = ["nbdfuse", str(disk), "--fd", str(ours.fileno())]
            end = theirs.fileno()
            self._processes = [
                subprocess.Popen(command, stdin=end, stdout=end, stderr=subprocess.DEVNULL),
                subprocess.Popen(file, pass_fds=[ours.fileno()], stderr=subprocess.DEVNULL),
            ]
        _until(disk.exists, "nbdfuse did not come up")
        _run("mount", "-o", _OPTIONS + _MORE_OPTIONS.get(self._kind, ""), disk, self.root)

    def _server(self) -> list[str]:
        """Return what nbdkit is told of the disk that it is."""
        return ["--filter=cache", "file", "cache=writeback", str(self._image)]

    def commit(self) -> None:
        """Do what the kernel does every half a minute: names reach the disk, contents that nobody flushed do not."""
        directory = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if self._kind != "btrfs":  # what the journal has begun goes with what one flushes
                os.utime(directory)
                os.fsync(directory)
                return
            fcntl.ioctl(directory, _START_SYNC, transaction := bytearray(8))
            fcntl.ioctl(directory, _WAIT_SYNC, transaction)
        finally:
            os.close(directory)

    def cut(self) -> None:
        """Take the power away: what was not flushed is gone, and nothing is mounted or running any more."""
        for process in self._processes[:1]:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self._take_apart()

    def stop(self) -> None:
        """Shut down in good order: everything is on the disk."""
        _run("umount", self.root)
        self._take_apart()

    def keep(self, copy: Path) -> None:
        """Copy the disk, which is stopped, to the file `copy`."""
        _copy(self._image, copy)

    def bring_back(self, copy: Path) -> None:
        """Make the disk, which is stopped, what it was when it was copied to `copy`, and mount it."""
        _copy(copy, self._image)
        self.start()

    def _take_apart(self) -> None:
        try:
            if _is_mounted(self.root):
                _run("umount", self.root)
            # The loop device lets go of its file a moment after the file system has let go of it.
            _until(lambda: not _is_mounted(self._fuse) or _succeeds("umount", self._fuse), "the loop device stays")
        finally:
            while self._processes:
                process = self._processes.pop()
                process.kill()
                process.wait()


@dataclass
class Outage:
    """Something that is done on such a disk, again and again from the same beginning, until the power goes."""

    disk: Disk
    copy: Path  # where the disk is kept as it is at the beginning
    act: Action
    names_written: bool = False  # the kernel commits just before the power goes

    def begin(self, prepare: Action) -> None:
        """Make the disk, and on it what `prepare` makes: from now on that is the beginning."""
        self.disk.make()
        prepare()
        self.disk.stop()
        self.disk.keep(self.copy)
        self.disk.start()

    def begin_again(self) -> None:
        """Have the disk as it was at the beginning."""
        self.disk.cut()
        self.disk.bring_back(self.copy)

    def points(self, below: Path) -> list[Call]:
        """Return all that the act changes below the directory `below`."""
        points = crashing.calls(self.act, below)
        self.begin_again()
        return points

    def cut_power(self) -> None:
        """Let the power go and come back; nothing has started yet."""
        if self.names_written:
            self.disk.commit()
        self.disk.cut()
        self.disk.start()

    def cut_at_each(self, points: Sequence[Call], check: Action) -> None:
        """Let the power go at each of `points`, at once and after a commit, and call `check` when it is back."""

        def cut_and_check() -> None:
            self.cut_power()
            check()

        for self.names_written in (False, True):
            crashing.crash_at_each(points, self.begin_again, self.act, cut_and_check)


def _copy(source: Path, copy: Path) -> None:
    _run("cp", "--sparse=always", "--reflink=auto", source, copy)  # most of it is empty


def _is_mounted(place: Path) -> bool:
    try:
        return place.is_mount()
    except OSError:
        return True  # what is left of nbdfuse when its process has ended, or of an xfs without its disk


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]} failed: {done.stderr.strip()}"


def _succeeds(*command: str | Path) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.002)
