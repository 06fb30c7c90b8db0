# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots for any other file system: what did not change is a second name of the file in the snapshot before.

Never a second name of a file in incoming: that one is the laptop's to change. What rsync would call unchanged (size and
time) is linked; the rest is copied, or shared block by block where the file system can.

What the disk does not give back any more is taken as the snapshot before has it, or left out: a bad sector must not end
a laptop's backups. A document is taken whole or not at all: no new title stands over old words.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from schoolserver import copying, opening
from schoolserver.engines import Kind, Place
from schoolserver.names import UUID

_DEEPEST = 100  # directories in one another; a datastore has four, and each costs four descriptors
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE = 1024 * 1024
_MOST_NAMES = 20_000  # in one directory: with more of them, all is compared
# What the kernel says of a bad sector, and of a block whose checksum is wrong.
_BAD = (errno.EIO, errno.ENODATA, errno.EBADMSG, errno.EUCLEAN)


class Links:
    """The engine for ext4, xfs and whatever else has links."""

    def make_incoming(self, path: Path, uid: int, kind: Kind) -> None:
        """Make plain directories."""
        path.mkdir(0o700)
        for directory in (*(path / cache for cache in kind.caches), path):
            directory.mkdir(0o755, exist_ok=True)
            os.chown(directory, uid, uid)
        path.chmod(0o755)

    def take(self, incoming: Path, new: Path, previous: Path | None, kind: Kind) -> list[Place]:
        """Link what is as in `previous`, copy the rest; all of it is root's."""
        new.mkdir(0o755)
        opened = [os.open(path, _DIRECTORY) for path in (incoming, new, previous) if path is not None]
        unread: list[Place] = []
        try:
            source, target, *before = opened
            _take(_Directory(source, target, before[0] if before else None), frozenset(kind.caches), unread)
        finally:
            _close(opened)
        return unread

    def remove(self, path: Path) -> None:
        """Remove the directory with all that is in it."""
        if os.path.lexists(path):
            copying.remove(path)

    def changed(self, old: Path, new: Path) -> list[str] | None:
        """Compare the inode numbers: take() gave what did not change a second name, and both snapshots are root's."""
        with opening.opened(None, str(old)) as before, opening.opened(None, str(new)) as after:
            return list(_differing(before, after, ""))

    def sync(self, path: Path) -> None:
        """Have the file system write out what it has in hand."""
        done = subprocess.run(["sync", "--file-system", str(path)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{path} cannot be written out: {done.stderr.strip()}")


def _differing(old: int, new: int, place: str) -> Iterator[str]:
    """Yield the paths of what differs below two directories, which `place` names."""
    was, now = opening.numbers(old, _MOST_NAMES), opening.numbers(new, _MOST_NAMES)
    for name in was.keys() | now.keys():
        before, after = was.get(name), now.get(name)
        in_old, in_new = before is not None and before[1], after is not None and after[1]
        if in_old and in_new:
            with opening.opened(old, name) as older, opening.opened(new, name) as newer:
                if os.fstat(older).st_mtime_ns != os.fstat(newer).st_mtime_ns:
                    yield f"{place}{name}"
                yield from _differing(older, newer, f"{place}{name}/")
        elif before != after:
            yield f"{place}{name}"
            for top in [top for top, inside in ((old, in_old), (new, in_new)) if inside]:
                with opening.opened(top, name) as directory:
                    yield from (f"{place}{name}/{below}" for below in opening.numbers(directory, _MOST_NAMES))


@dataclass(frozen=True)
class _Directory:
    """One directory, open: in incoming, in the snapshot that is made, and in the one before where it is there."""

    source: int
    target: int
    before: int | None
    place: Place = ()


def _take(at: _Directory, leave_out: frozenset[str], unread: list[Place]) -> None:
    """Take what is in the directory `at`; add to `unread` what cannot be read."""
    in_document = any(UUID.fullmatch(name) for name in at.place)
    for entry in _listed(at.source):
        if entry.name in leave_out:
            continue
        known, whole = len(unread), True
        try:
            _take_one(entry, at, unread)
        except OSError as error:
            # A disk that takes nothing any more may say the same: then there is no snapshot.
            if error.errno not in _BAD or _can_be_read(entry.name, at.source):
                raise
            unread.append((*at.place, entry.name))
            whole = False
        if len(unread) > known and not in_document and (not whole or UUID.fullmatch(entry.name)):
            _take_as_before(entry.name, at)
    status = os.fstat(at.source)
    os.utime(at.target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _take_one(entry: os.DirEntry[str], at: _Directory, unread: list[Place]) -> None:
    name, status = entry.name, entry.stat(follow_symlinks=False)
    if stat.S_ISREG(status.st_mode):
        if at.before is None or not _is_as(status, name, at.before) or not _link(name, at.before, at.target):
            _copy(name, at.source, at.target)
    elif stat.S_ISDIR(status.st_mode):
        if len(at.place) == _DEEPEST:
            print(f"left out: {name!a}, more than {_DEEPEST} directories deep", file=sys.stderr, flush=True)
            return
        _take_directory(name, at, unread)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=at.source), name, dir_fd=at.target)
    # Pipes, sockets and devices hold nothing; rsync makes none of them here.


def _take_directory(name: str, at: _Directory, unread: list[Place]) -> None:
    os.mkdir(name, 0o755, dir_fd=at.target)
    opened = [os.open(name, _DIRECTORY, dir_fd=at.source)]
    try:
        opened.append(os.open(name, _DIRECTORY, dir_fd=at.target))
        older = _open_if_there(name, at.before)
        if older is not None:
            opened.append(older)
        _take(_Directory(opened[0], opened[1], older, (*at.place, name)), frozenset(), unread)
    finally:
        _close(opened)


def _take_as_before(name: str, at: _Directory) -> None:
    """Make `name` what the snapshot before has there; nothing where it has nothing, or cannot be read either."""
    _remove(name, at.target)
    if at.before is None:
        return
    unread: list[Place] = []
    try:
        status = os.stat(name, dir_fd=at.before, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            _take_directory(name, replace(at, source=at.before), unread)
        elif stat.S_ISREG(status.st_mode) and not _link(name, at.before, at.target):
            _copy(name, at.before, at.target)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in _BAD:
            raise
        unread.append((*at.place, name))
    if unread:
        _remove(name, at.target)


def _remove(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        shutil.rmtree(name, dir_fd=directory)


def _listed(directory: int) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as listing:
        yield from listing


def _can_be_read(name: str, directory: int) -> bool:
    """Say whether the disk gives back all of `name`: the names in a directory, the bytes of a file."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return bool(os.readlink(name, dir_fd=directory))
        descriptor = os.open(name, _DIRECTORY if stat.S_ISDIR(status.st_mode) else _FILE, dir_fd=directory)
        try:
            if stat.S_ISDIR(status.st_mode):
                os.listdir(descriptor)
            else:
                while os.read(descriptor, _PIECE):
                    pass
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno not in _BAD
    return True


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
