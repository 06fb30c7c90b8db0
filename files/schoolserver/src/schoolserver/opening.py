# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening what a hostile laptop may have written.

Every name in a datastore is the laptop's choice: a link would make root or the Journal page read another's files, a
pipe would hang the reader, a huge file would fill its memory. So each step is opened without following links, only
regular files are read, and no more than a stated number of bytes and of names.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class TooMany(OSError):
    """There is more here than a reader's memory is for: a laptop's mistake, or an attack."""


@contextmanager
def opened(parent: int | None, name: str) -> Iterator[int]:
    """Open the directory `name` in the directory `parent`; raise OSError if it is anything else."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_regular(directory: int, name: str) -> int:
    """Return a descriptor of the regular file `name` in `directory`; raise OSError if it is anything else."""
    descriptor = os.open(name, _FILE, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"not a regular file: {name}")
    return descriptor


def read(directory: int, name: str, limit: int) -> bytes:
    """Return the first `limit` bytes of the regular file `name` in `directory`; raise OSError."""
    with open(open_regular(directory, name), "rb") as file:
        return file.read(limit)


def status_of_file(directory: int, name: str) -> os.stat_result | None:
    """Return the status of `name` in `directory`, None when it is no regular file there."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def names(directory: int, most: int) -> list[str]:
    """Return the names in `directory`, sorted; `most` + 1 of them stand for any number above `most`."""
    with os.scandir(directory) as listing:
        return sorted(item.name for item in itertools.islice(listing, most + 1))


def directories(directory: int, most: int) -> dict[str, int]:
    """Return {name: inode number} of the directories in `directory`; raise TooMany among more than `most` names."""
    return {name: number for name, (number, is_directory) in numbers(directory, most).items() if is_directory}


def numbers(directory: int, most: int) -> dict[str, tuple[int, bool]]:
    """Return {name: (inode number, whether it is a directory)} of `directory`; raise TooMany above `most` names."""
    found: dict[str, tuple[int, bool]] = {}
    with os.scandir(directory) as listing:
        for item in listing:
            if len(found) >= most:
                raise TooMany(f"more than {most} names in one directory")
            found[item.name] = (item.inode(), item.is_dir(follow_symlinks=False))
    return found
