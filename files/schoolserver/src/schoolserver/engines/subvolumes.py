# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots as btrfs takes them: at once, whatever their size, and without taking room for what did not change."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from schoolserver import btrfs, copying, opening
from schoolserver.engines import Kind

_CLEAN_SECONDS = 5.0  # less than a gate waits for its answer; what is left then goes at the next report
_MOST_NAMES = 20_000  # in one directory: with more of them, all is compared


class Subvolumes:
    """The engine for btrfs."""

    def make_incoming(self, path: Path, uid: int, kind: Kind) -> None:
        """Make a subvolume; the caches are subvolumes in it, which a snapshot leaves out for nothing."""
        btrfs.create_subvolume(path)
        for cache in kind.caches:
            btrfs.create_subvolume(path / cache)
            os.chown(path / cache, uid, uid)
        os.chown(path, uid, uid)
        path.chmod(0o755)

    def take(self, incoming: Path, new: Path, _previous: Path | None, kind: Kind) -> tuple[()]:
        """Take a snapshot that is root's and read-only from its first moment.

        Were it sealed afterwards, a process of the learner could open a file in it before, and go on writing.
        """
        _renew(incoming, kind.caches)
        with _owned_by_root(incoming):
            btrfs.snapshot(incoming, new)
        return ()  # nothing has to be read

    def remove(self, path: Path) -> None:
        """Remove the subvolume with those nested at its top; its space comes back in the background."""
        if btrfs.is_subvolume(path):
            btrfs.delete_subvolume(path)
        elif os.path.lexists(path):
            copying.remove(path)

    def changed(self, old: Path, new: Path) -> list[str] | None:
        """Ask the kernel what came or changed, and look for what went or was moved where it says that a name did."""
        paths = btrfs.changed_paths(old, new)
        if paths is None:
            return None
        with opening.opened(None, str(old)) as before, opening.opened(None, str(new)) as after:
            return [*paths, *_came_or_went(before, after, set(paths))]

    def sync(self, path: Path) -> None:
        """Have btrfs write out what it has in hand."""
        btrfs.sync(path)


def _came_or_went(old: int, new: int, changed: Collection[str]) -> Iterator[str]:
    """Yield the paths, one and two names long, that stand for another directory in `new` than in `old`.

    A laptop can move what it sent earlier to where another document was: the kernel then says no more than that names
    came or went where it stood and where it stands.
    """
    was, now = opening.directories(old, _MOST_NAMES), opening.directories(new, _MOST_NAMES)
    for name in was.keys() | now.keys():
        if (same := was.get(name) == now.get(name)) and name not in changed:
            continue
        before = _numbers_in(old, name) if name in was else {}
        after = _numbers_in(new, name) if name in now else {}
        for below in before.keys() | after.keys():
            if not same or before.get(below) != after.get(below):
                yield f"{name}/{below}"


def _numbers_in(top: int, name: str) -> dict[str, int]:
    with opening.opened(top, name) as directory:
        return opening.directories(directory, _MOST_NAMES)


@contextmanager
def _owned_by_root(incoming: Path) -> Iterator[None]:
    """Make the top of `incoming` root's, and so that of a snapshot, for whoever owns it may make it writable again.

    A crash leaves it root's: snapshot.remove_leftovers() gives it back.
    """
    top = os.open(incoming, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        owner = os.fstat(top)
        os.fchown(top, 0, 0)
        try:
            os.fchmod(top, 0o755)
            yield
        finally:
            os.fchown(top, owner.st_uid, owner.st_gid)
    finally:
        os.close(top)


def _renew(incoming: Path, caches: Collection[str]) -> None:
    # A laptop may remove them, or put a plain directory or a link there.
    for name in caches:
        cache = incoming / name
        if btrfs.is_subvolume(cache):
            continue
        parent = os.open(incoming, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            owner = os.fstat(parent)
            _remove_file(parent, name)
            if _is_there(parent, name):
                # Stopped after a while: a million files must not hold up the school.
                copying.remove(cache, _CLEAN_SECONDS)
            btrfs.create_subvolume(cache)
            descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
            try:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
                os.fchmod(descriptor, 0o755)
            finally:
                os.close(descriptor)
        finally:
            os.close(parent)


def _remove_file(directory: int, name: str) -> None:
    with suppress(FileNotFoundError, IsADirectoryError):
        os.unlink(name, dir_fd=directory)


def _is_there(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
