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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from schoolserver import copying
from schoolserver.engines import Kind

_DEEPEST = 100  # directories in one another; a datastore has four, and each costs two descriptors
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
        with ExitStack() as stack:
            source, target = (stack.enter_context(_opened(None, str(path))) for path in (incoming, new))
            before = stack.enter_context(_opened(None, str(previous))) if previous else None
            _take(source, target, before, frozenset(kind.caches + kind.flags), 0)

    def remove(self, path: Path) -> None:
        """Remove the directory with all that is in it."""
        if os.path.lexists(path):
            copying.remove(path)

    def sync(self, path: Path) -> None:
        """Have the file system write out what it has in hand."""
        done = subprocess.run(["sync", "--file-system", str(path)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{path} cannot be written out: {done.stderr.strip()}")


def _take(source: int, target: int, before: int | None, leave_out: frozenset[str], depth: int) -> None:
    known = _files(before) if before is not None else {}
    for entry in _entries(source):
        name = entry.name
        if name in leave_out:
            continue
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            old = known.get(name)
            if old is None or before is None or not _same(old, status) or not _link(name, before, target):
                _copy(name, source, target)
        elif stat.S_ISDIR(status.st_mode):
            if depth == _DEEPEST:
                print(f"left out: {name!a}, more than {_DEEPEST} directories deep", file=sys.stderr, flush=True)
                continue
            os.mkdir(name, 0o755, dir_fd=target)
            with ExitStack() as stack:
                inner = stack.enter_context(_opened(source, name))
                made = stack.enter_context(_opened(target, name))
                _take(inner, made, _inside(before, name, stack), frozenset(), depth + 1)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        # Pipes, sockets and devices hold nothing; rsync makes none of them here.
    status = os.fstat(source)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _same(old: os.stat_result, new: os.stat_result) -> bool:
    return (old.st_size, old.st_mtime_ns) == (new.st_size, new.st_mtime_ns)


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


def _files(directory: int) -> dict[str, os.stat_result]:
    return {entry.name: entry.stat(follow_symlinks=False) for entry in _entries(directory) if _is_file(entry)}


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)


def _entries(directory: int) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as listing:
        yield from listing


def _inside(directory: int | None, name: str, stack: ExitStack) -> int | None:
    if directory is None:
        return None
    try:
        return stack.enter_context(_opened(directory, name))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # there a link stood
            return None
        raise


@contextmanager
def _opened(parent: int | None, name: str) -> Iterator[int]:
    descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
