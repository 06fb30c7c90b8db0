# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold of a tree at any moment, and what the next start must make of it (DESIGN.md, 6.1 to 6.3, 6.7, 6.8).

A Story plays a learner's days on a tree and remembers each completed run, so that it can tell what is whole and what is
the last copy without asking the code under test.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import school
from schoolserver import btrfs, catalog, copying, datastore, keepsakes, pins, snapshot
from schoolserver.engines import DATASTORE, DOCUMENTS, KINDS, Kind, links
from schoolserver.engines.links import Links
from schoolserver.engines.subvolumes import Subvolumes

Contents = dict[str, bytes]

# What changes the disk in a snapshot and in rotation, for crashing.stopped_before().
CHANGES = [
    (btrfs, "snapshot"), (btrfs, "create_subvolume"), (Subvolumes, "sync"), (Links, "sync"), (os, "chown"),
    (links, "_copy"), (links, "_link"), (keepsakes, "_make"), (copying, "copy"), (pins, "write"), (os, "fchown"),
    (os, "fchmod"), (Path, "rename"), (Path, "symlink_to"), (os, "unlink"), (catalog, "update"),
    (catalog, "forget"), (Subvolumes, "remove"), (Links, "remove"),
]  # fmt: skip


@dataclass
class Story:
    """One tree below `users`, with its completed runs in order: for each, what the laptop had sent by then."""

    users: Path
    runs: list[dict[Kind, Contents]] = field(default_factory=list)

    @property
    def tree(self) -> Path:
        return self.users / "SHC12345678"

    @property
    def catalog(self) -> Path:
        return self.users.parent / "catalog.db"

    @property
    def incoming(self) -> Path:
        return self.tree / DATASTORE.incoming

    def begin(self) -> None:
        self.runs.clear()
        school.make_tree(self.users)

    def write(self, number: int, words: bytes) -> None:
        # Dated by its words: rsync sends a changed file with a new time or another size.
        when = 1_790_000_000 + sum(words)
        school.write_document(self.incoming, school.uid(number), words, when, preview=school.PNG)

    def write_small(self, number: int, words: bytes) -> None:
        """Write an entry of one file, where it is their number that counts."""
        title = self.incoming / school.uid(number)[:2] / school.uid(number) / "metadata" / "title"
        title.parent.mkdir(parents=True)
        title.write_bytes(words)

    def remove(self, number: int) -> None:
        school.remove_document(self.incoming, school.uid(number))

    def write_file(self, name: str, words: bytes) -> None:
        """Write the file `name` of documents/, which has nothing to do with the Journal."""
        path = self.tree / DOCUMENTS.incoming / name
        path.write_bytes(words)
        os.utime(path, (1_790_000_000 + sum(words),) * 2)

    def end_run(self) -> None:
        """Complete a run of both directories, on the disk, as the gate does."""
        self.runs.append({kind: sent(self.tree, kind) for kind in KINDS})
        os.sync()
        for kind in KINDS:
            mark = os.open(self.tree / ".state" / kind.mark, os.O_WRONLY | os.O_CREAT, 0o600)
            os.fsync(mark)
            os.close(mark)
        state = os.open(self.tree / ".state", os.O_RDONLY)
        os.fsync(state)
        os.close(state)

    def take_back(self, kind: Kind, name: str) -> None:
        """From now on `name` (a path, or what all its paths begin with) counts in the last run as in the one before."""
        before = self.runs[-2][kind] if len(self.runs) > 1 else {}
        mine = {path: words for path, words in self.runs[-1][kind].items() if not path.startswith(name)}
        self.runs[-1][kind] = mine | {path: words for path, words in before.items() if path.startswith(name)}

    def take(self, now: datetime) -> str | None:
        """Do what the service does at the gate's report."""
        return snapshot.take(self.tree, now, self.catalog)

    def start(self, now: datetime) -> None:
        """Do what the service does when it starts."""
        snapshot.sweep(self.users, now, self.catalog)
        with suppress(OSError, sqlite3.Error):  # derived
            catalog.make_ready(self.catalog, self.users)

    def check_now(self) -> None:
        """Nothing partial is visible, and nothing that a completed run ever held is lost: true at every moment."""
        for kind in KINDS:
            stamps = datastore.snapshots(self.tree, kind.snapshots)
            for stamp in stamps:
                there = self.tree / kind.snapshots / stamp
                assert school.contents(there) in [run[kind] for run in self.runs], f"{there.name} is no completed run"
                assert sealed(there), there
            # A run that has no snapshot yet still has its mark, or the next start would not look for it.
            whole = [school.contents(self.tree / kind.snapshots / stamp) for stamp in stamps]
            if not whole or whole[-1] != self.runs[-1][kind]:
                assert (self.tree / ".state" / kind.mark).exists(), f"{kind.mark} is lost"
                assert sent(self.tree, kind) == self.runs[-1][kind], f"{kind.incoming} is not as it was sent"
        self._check_latest()
        self._check_last_copies()

    def check_repaired(self) -> None:
        """What the next start leaves: all taken, nothing half made, nothing waiting."""
        self.check_now()
        for kind in KINDS:
            stamps = datastore.snapshots(self.tree, kind.snapshots)
            directory = self.tree / kind.snapshots
            assert sorted(os.listdir(directory)) == stamps
            assert school.contents(directory / stamps[-1]) == self.runs[-1][kind]
            assert not (self.tree / ".state" / kind.mark).exists()
            assert (self.tree / kind.incoming).stat().st_uid == school.LEARNER, "incoming is not the learner's any more"
        newest = datastore.snapshots(self.tree)[-1]
        assert os.readlink(self.tree / "datastore-latest") == f"datastore/{newest}"
        # The temporary file of pins.json is written over the next time; nobody else looks at it.
        left = [path for path in self.tree.rglob(".*.new") if path.name != f".{pins.FILE}.new"]
        assert not left, left

    def last_versions(self, runs: int) -> dict[str, Contents]:
        """Return the newest version of every document of the first `runs` completed runs, by uid."""
        found: dict[str, Contents] = {}
        for run in self.runs[:runs]:
            found |= by_document(run[DATASTORE])
        return found

    def _check_latest(self) -> None:
        latest = self.tree / "datastore-latest"
        stamps = datastore.snapshots(self.tree)
        if not latest.is_symlink():
            assert len(stamps) < 2, "datastore-latest is gone"
            return
        where, _, stamp = os.readlink(latest).partition("/")
        assert (where, stamp in stamps[-2:]) == ("datastore", True), f"datastore-latest leads to {stamp}"

    def _check_last_copies(self) -> None:
        stamps = datastore.snapshots(self.tree)
        newest = school.contents(self.tree / "datastore" / stamps[-1]) if stamps else {}
        taken = max((number for number, run in enumerate(self.runs, 1) if run[DATASTORE] == newest), default=0)
        copies: dict[str, list[Contents]] = {}
        for stamp in {*stamps[-1:], *pins.read(self.tree)}:
            for uid, copy in by_document(school.contents(self.tree / "datastore" / stamp)).items():
                copies.setdefault(uid, []).append(copy)
        ever = [by_document(run[DATASTORE]) for run in self.runs]
        for uid, stamp in keepsakes.every(self.tree):
            copy = school.contents(self.tree / keepsakes.DIRECTORY / uid / stamp)
            assert copy in [run.get(uid) for run in ever], f"the keepsake {uid}/{stamp} is not whole"
            copies.setdefault(uid, []).append(copy)
        for uid, last in self.last_versions(taken).items():
            assert last in copies.get(uid, []), f"the last copy of {uid} is lost"


def sent(tree: Path, kind: Kind) -> Contents:
    """What a snapshot of `kind` is to hold: what is in incoming, without caches."""
    out = tuple(f"{cache}/" for cache in kind.caches)
    there = school.contents(tree / kind.incoming)
    return {path: words for path, words in there.items() if not path.startswith(out)}


def by_document(contents: Contents) -> dict[str, Contents]:
    """Take the contents of a Journal apart: {uid: {path in its entry: bytes}}."""
    found: dict[str, Contents] = {}
    for path, words in contents.items():
        drawer, _, rest = path.partition("/")
        uid, _, inner = rest.partition("/")
        if inner and uid.startswith(drawer):
            found.setdefault(uid, {})[inner] = words
    return found


def sealed(there: Path) -> bool:
    """Whether only root can change the finished snapshot, and nobody at all where the file system can do that."""
    if btrfs.is_btrfs(there):
        return btrfs.is_read_only(there) and there.stat().st_uid == 0
    statuses = [path.lstat() for path in (there, *there.rglob("*"))]
    return all(
        status.st_uid == 0 and not status.st_mode & 0o022 for status in statuses if not stat.S_ISLNK(status.st_mode)
    )
