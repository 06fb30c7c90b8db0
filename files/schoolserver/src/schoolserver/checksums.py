# SPDX-License-Identifier: GPL-3.0-or-later
"""Verifying where the file system has no checksums (ext4, xfs): what each file of a snapshot was is recorded once.

checksums.db in the tree: a file is one inode, whatever number of snapshots have a name of it. It stands with what it
tells of: made anew after the library moved to another machine, it would take what had decayed for what was stored. Not
in .state, which the learner owns.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import stat
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from schoolserver import datastore, keepsakes
from schoolserver.decay import CHANGED, DISK, Decayed, Piece
from schoolserver.engines import KINDS

FILE = "checksums.db"
_TABLES = """
CREATE TABLE IF NOT EXISTS places (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
-- generation: another one for each file that gets the number of a removed one; checked: when it was recorded, or the
-- begin of the pass that verified it last.
CREATE TABLE IF NOT EXISTS files (
    inode INTEGER PRIMARY KEY, generation INTEGER NOT NULL, digest BLOB NOT NULL, checked TEXT NOT NULL
) STRICT;
"""
_GET_VERSION = 0x80087601  # FS_IOC_GETVERSION, linux/fs.h
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_UNREAD = b""  # in the place of a digest
_READ = 1024 * 1024
_PIECE_BYTES = 64 * 1024 * 1024  # after so many a pass may be held up, and what it did is on the disk
_PIECE_NAMES = 20_000


@dataclass(frozen=True)
class Seen:
    """One file or directory of what is verified."""

    bytes: int  # that were read for it
    decayed: Decayed | None


@dataclass(frozen=True)
class _By:
    """What files are looked at for: recorded at `stamp`, or verified by the pass that began then."""

    stamp: str
    verify: bool


@dataclass(frozen=True)
class _At:
    """Where a pass is: `name` in the open directory `parent`, called `path` below the directory of the trees."""

    parent: int | None
    name: str
    path: str
    database: sqlite3.Connection


def record(users: Path, now: str) -> Iterator[Piece]:
    """Record what came since the last time, a piece each time that this is asked; raise OSError or sqlite3.Error.

    `now` is a stamp.
    """
    for tree, database in _records(users):
        with closing(database):
            known = {name for (name,) in database.execute("SELECT name FROM places")}
            present = _places(tree)
            for place in sorted(present - known):
                yield from _pieces(database, _look(_at(database, tree, place), _By(now, verify=False)), "")
                with database:
                    database.execute("INSERT INTO places VALUES (?)", (place,))
            with database:
                gone = [(place,) for place in known - present]
                database.executemany("DELETE FROM places WHERE name = ?", gone)


def pieces(users: Path, after: str, begun: str) -> Generator[Piece, None, None]:
    """Verify the trees behind the one called `after` in the pass that began at `begun`, a piece each time.

    What the pass has verified in a tree that it did not finish is not read again. Raise OSError or sqlite3.Error.
    """
    for tree, database in _records(users, after):
        with closing(database):
            # The newest first, for that is where a person looks.
            for place in sorted(_places(tree), reverse=True):
                yield from _pieces(database, _look(_at(database, tree, place), _By(begun, verify=True)), after)
            with database:  # what no snapshot has a name of any more
                database.execute("DELETE FROM files WHERE checked < ?", (begun,))
        after = tree.name
        yield Piece(after, 0, [])


def _at(database: sqlite3.Connection, tree: Path, place: str) -> _At:
    return _At(None, str(tree / place), f"{tree.name}/{place}", database)


def _places(tree: Path) -> set[str]:
    """Return the names below `tree` of its snapshots and keepsakes."""
    found = {f"{kind.snapshots}/{stamp}" for kind in KINDS for stamp in datastore.snapshots(tree, kind.snapshots)}
    return found | {f"{keepsakes.DIRECTORY}/{uid}/{stamp}" for uid, stamp in keepsakes.every(tree)}


def _pieces(database: sqlite3.Connection, seen: Iterator[Seen], after: str) -> Iterator[Piece]:
    """Gather what is `seen` into pieces, each committed to `database` before it is yielded."""
    size, names, decayed = 0, 0, list[Decayed]()
    for one in seen:
        size, names = size + one.bytes, names + 1
        if one.decayed:
            decayed.append(one.decayed)
        if size >= _PIECE_BYTES or names >= _PIECE_NAMES:
            database.commit()
            yield Piece(after, size, decayed)
            size, names, decayed = 0, 0, []
    database.commit()
    yield Piece(after, size, decayed)


def _look(at: _At, by: _By) -> Iterator[Seen]:
    """Go over the files below the directory `at`: record those that are not known, and verify the others if asked."""
    try:
        directory = os.open(at.name, _DIRECTORY, dir_fd=at.parent)
    except FileNotFoundError:  # rotation took it meanwhile
        return
    except OSError:
        yield Seen(0, Decayed(at.path, DISK))
        return
    try:
        for name, is_directory in _listed(directory):
            below = _At(directory, name, f"{at.path}/{name}", at.database)
            if is_directory:
                yield from _look(below, by)
            else:
                yield from _look_at_file(below, by)
    except OSError:
        yield Seen(0, Decayed(at.path, DISK))
    finally:
        os.close(directory)


def _listed(directory: int) -> list[tuple[str, bool]]:
    """Return the names in the open `directory`, sorted, and whether each is a directory."""
    with os.scandir(directory) as listing:
        return sorted((one.name, one.is_dir(follow_symlinks=False)) for one in listing)


def _look_at_file(at: _At, by: _By) -> Iterator[Seen]:
    try:
        size, why = _see(at, by)
    except FileNotFoundError:
        return
    except OSError:
        size, why = 0, DISK
    yield Seen(size, Decayed(at.path, why) if why else None)


def _see(at: _At, by: _By) -> tuple[int, str]:
    """Return how many bytes of the file `at` were read, and what is wrong with it or ""; raise OSError."""
    status = os.stat(at.name, dir_fd=at.parent, follow_symlinks=False)
    query = "SELECT generation, digest, checked FROM files WHERE inode = ?"
    row = at.database.execute(query, (status.st_ino,)).fetchone()
    if not stat.S_ISREG(status.st_mode) or (row and row[2] == by.stamp):
        return 0, ""
    file = os.open(at.name, _FILE, dir_fd=at.parent)
    try:
        generation = _generation(file, status)
        known = row[1] if row and row[0] == generation else _UNREAD
        if known and not by.verify:
            return 0, ""
        if by.verify:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)  # from the disk, not from memory
        size, digest = _digest(file)
    finally:
        os.close(file)
    # Of what has decayed the first digest stays: the next pass finds it again.
    values = (status.st_ino, generation, known or digest, by.stamp)
    at.database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", values)
    if digest == _UNREAD:
        return size, DISK
    return size, "" if digest == known or not known else CHANGED


def _generation(file: int, status: os.stat_result) -> int:
    try:
        answer = bytearray(8)
        fcntl.ioctl(file, _GET_VERSION, answer)
        return int.from_bytes(answer[:4], "little")
    except OSError:  # a file system without: then what rsync tells files apart by
        return status.st_mtime_ns


def _digest(file: int) -> tuple[int, bytes]:
    """Return how many bytes the open `file` has, and their digest, _UNREAD where the disk does not give them back."""
    digest, size = hashlib.blake2b(digest_size=16), 0
    try:
        while piece := os.read(file, _READ):
            digest.update(piece)
            size += len(piece)
    except OSError:
        return size, _UNREAD
    return size, digest.digest()


def _records(users: Path, after: str = "") -> Iterator[tuple[Path, sqlite3.Connection]]:
    """Yield each tree behind the one called `after`, with its record."""
    for tree in datastore.trees(users):
        if tree.name > after:
            try:
                yield tree, _opened(tree)
            except FileNotFoundError:  # a person had it removed meanwhile
                continue


def _opened(tree: Path) -> sqlite3.Connection:
    """Return the record of `tree`, made where there is none, for root alone."""
    file = tree / FILE
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(file)
    try:
        database.executescript(_TABLES)
    except sqlite3.DatabaseError as error:
        database.close()
        if isinstance(error, sqlite3.OperationalError):
            raise
        # Damaged: what it knew cannot be had again; what is there now is better than nothing.
        print(f"{file} is damaged ({error}): it is set aside, and the files are recorded as they are now", flush=True)
        file.rename(file.with_name(f"{FILE}.damaged"))
        return _opened(tree)
    return database
