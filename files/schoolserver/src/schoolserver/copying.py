# SPDX-License-Identifier: GPL-3.0-or-later
"""Copying one file out of what a laptop wrote, and removing what one wrote: root's hands, kept clean."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from schoolserver import datastore
from schoolserver.datastore import Entry

_CLONE = 0x40049409  # FICLONE of linux/fs.h
_PIECE = 1024 * 1024


def copy(source: int, target: int, status: os.stat_result) -> None:
    """Fill the new file `target` (a descriptor) from `source` (a descriptor); both are closed; raise OSError.

    It shares the bytes where the file system can, and gets the time of `status`, by which versions are known again. It
    is root's own and readable, so a hostile source can choose its bytes and nothing else.
    """
    with open(source, "rb") as file, open(target, "wb") as copied:
        try:
            fcntl.ioctl(copied.fileno(), _CLONE, file.fileno())
        except OSError:
            shutil.copyfileobj(file, copied, _PIECE)
            copied.flush()
        os.fchmod(copied.fileno(), 0o644)
        os.utime(copied.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))


def entry(source: Entry, target: Path) -> None:
    """Copy data and metadata/ of the open entry `source` into the new directory `target`; raise OSError."""
    for names, status in datastore.files(source):
        place = target.joinpath(*names)
        for directory in dict.fromkeys((target, place.parent)):
            directory.mkdir(exist_ok=True, parents=True)
            directory.chmod(0o755)  # whatever the unit's umask: the Journal page reads keepsakes
        new = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        copy(datastore.open_file(source, *names), new, status)


def remove(path: Path, seconds: float | None = None) -> None:
    """Remove the directory `path` with all that is in it; raise OSError, also when it takes longer than `seconds`.

    rm walks any depth in little memory; rmtree() calls itself, and a thousand directories in one another end it. On the
    way it opens nothing through a link.
    """
    command = ["rm", "--recursive", "--force", "--", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{path.name} is so large that its removal goes on at the next run") from error
    if done.returncode:
        raise OSError(f"{path.name} cannot be removed: {done.stderr.strip()[-300:]}")
