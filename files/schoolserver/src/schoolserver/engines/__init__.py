# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshot engines: what is different from file system to file system (DESIGN.md section 5, "Snapshots are …").

An engine is one file here with the functions of Engine, and a line in of().
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from schoolserver import btrfs

Place = tuple[str, ...]  # of a file or directory in an incoming directory: the names on the way to it


@dataclass(frozen=True)
class Kind:
    """A directory that laptops write, and how its snapshots are taken."""

    incoming: str  # its name in the tree
    snapshots: str  # where they stand, in the tree
    mark: str  # in .state, while a completed run waits for its snapshot
    # Sugar rebuilds these: they stay out of snapshots.
    caches: tuple[str, ...] = ()


DATASTORE = Kind("datastore-current", "datastore", "complete", ("index", "checksums"))
DOCUMENTS = Kind("documents", "documents-history", "complete-documents")
KINDS = (DATASTORE, DOCUMENTS)


class Engine(Protocol):
    """What snapshots need of a file system. Every function raises OSError when the file system fails.

    Whatever a laptop put into an incoming directory, no function follows a link in it, and none changes anything but
    the paths that it is given.
    """

    def make_incoming(self, path: Path, uid: int, kind: Kind) -> None:
        """Make the empty directory `path`, owned by `uid`, with its caches in it."""

    def take(self, incoming: Path, new: Path, previous: Path | None, kind: Kind) -> Sequence[Place]:
        """Make `new` root's own unchangeable copy of `incoming`, without the kind's caches.

        At no moment is it anybody else's to write. Return what had to be read and could not be, as the disk is bad
        there: `new` has in its place what `previous` has, or nothing.

        `previous` is the snapshot before, if there is one. An interrupted call leaves something at `new` that remove()
        takes away.
        """

    def remove(self, path: Path) -> None:
        """Remove the snapshot, or the incoming directory, at `path`, finished or not; nothing there is no error."""

    def changed(self, old: Path, new: Path) -> list[str] | None:
        """Return the path of each file and directory that differs between two snapshots of one kind; raise OSError.

        Of what came, went or was moved as a whole, its own path and those directly in it; at more than two directories'
        depth that of the directory is enough. None: this cannot be told for less than a comparison of all.
        """

    def sync(self, path: Path) -> None:
        """Return when all that was written to the file system of the directory `path` is on its disk."""


def of(path: Path) -> Engine:
    """Return the engine for what stands on the file system of the directory `path`."""
    from schoolserver.engines import links, subvolumes

    return subvolumes.Subvolumes() if btrfs.is_btrfs(path) else links.Links()
