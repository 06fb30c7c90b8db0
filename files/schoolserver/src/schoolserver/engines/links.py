# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots for any other file system: what did not change is a second name of the file in the snapshot before.

Never a second name of a file in incoming: that one is the laptop's to change. What rsync would call unchanged (size and
time) is linked; the rest is copied, or shared block by block where the file system can.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

from schoolserver import copying
from schoolserver.engines import Kind

_DEEPEST = 100  # directories in one another; a datastore has four, and each costs four descriptors
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Links:
    """The engine for ext4, xfs and whatever else has links."""

    def make_incoming(self, path: Path, uid: int, kind: Kind) -> None:
        """Make plain directories."""
        path.mkdir(0o700)
        for directory in (*(path / cache for cache in kind.caches), path):
            directory.mkdir(0o755, exist_ok=True)
            os.chown(directory, uid, uid)
        path.chmod(0o755)

    def take(self, incoming: Path, new: Path, previous: Path | None, kind: Kind) -> None:
        """Link what is as in `previous`, copy the rest; all of it is root's."""
        new.mkdir(0o755)
        opened = [os.open(path, _DIRECTORY) for path in (incoming, new, previous) if path is not None]
        try:
            source, target, *before = opened
            _take(source, target, before[0] if before else None, frozenset(kind.caches), 0)
        finally:
            _close(opened)

    def remove(self, path: Path) -> None:
        """Remove the directory with all that is in it."""
        if os.path.lexists(path):
            copying.remove(path)

    def changed(self, _old: Path, _new: Path) -> list[str] | None:
        """Not to be told: the file system remembers no such thing."""
        return None

    def sync(self, path: Path) -> None:
        """Have the file system write out what it has in hand."""
        done = subprocess.run(["sync", "--file-system", str(path)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{path} cannot be written out: {done.stderr.strip()}")


def _take(source: int, target: int, before: int | None, leave_out: frozenset[str], depth: int) -> None:
    with os.scandir(source) as listing:
        for entry in listing:
            name = entry.name
            if name in leave_out:
                continue
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                if before is None or not _is_as(status, name, before) or not _link(name, before, target):
                    _copy(name, source, target)
            elif stat.S_ISDIR(status.st_mode):
                if depth == _DEEPEST:
                    print(f"left out: {name!a}, more than {_DEEPEST} directories deep", file=sys.stderr, flush=True)
                    continue
                _take_directory(name, source, target, before, depth + 1)
            elif stat.S_ISLNK(status.st_mode):
                os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            # Pipes, sockets and devices hold nothing; rsync makes none of them here.
    status = os.fstat(source)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _take_directory(name: str, source: int, target: int, before: int | None, depth: int) -> None:
    os.mkdir(name, 0o755, dir_fd=target)
    opened = [os.open(name, _DIRECTORY, dir_fd=source)]
    try:
        opened.append(os.open(name, _DIRECTORY, dir_fd=target))
        older = _open_if_there(name, before)
        if older is not None:
            opened.append(older)
        _take(opened[0], opened[1], older, frozenset(), depth)
    finally:
        _close(opened)


def _is_as(status: os.stat_result, name: str, before: int) -> bool:
    """Say whether rsync would call the file unchanged since the one of this name in the snapshot before."""
    try:
        old = os.stat(name, dir_fd=before, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(old.st_mode) and (old.st_size, old.st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def _link(name: str, before: int, target: int) -> bool:
    """Give the file `name` of the snapshot before a second name; say whether that went."""
    try:
        os.link(name, name, src_dir_fd=before, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EMLINK:  # ext4 ends at 65,000 names
            raise
        return False
    return True


def _copy(name: str, source: int, target: int) -> None:
    descriptor = os.open(name, _FILE, dir_fd=source)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):  # swapped since it was listed
        os.close(descriptor)
        raise OSError(f"{name!a} is not a file any more")
    copying.copy(descriptor, name, status, inside=target)


def _open_if_there(name: str, before: int | None) -> int | None:
    if before is None:
        return None
    try:
        return os.open(name, _DIRECTORY, dir_fd=before)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # there a link stood
            return None
        raise


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
