# SPDX-License-Identifier: GPL-3.0-or-later
"""Copying one file out of what a laptop wrote, and removing what one wrote: root's hands, kept clean."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

from schoolserver import entries
from schoolserver.entries import Entry

_CLONE = 0x40049409  # FICLONE of linux/fs.h
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1024 * 1024


def copy(source: int, target: str | Path, status: os.stat_result, *, inside: int | None = None) -> None:
    """Make the file `target` (in the directory `inside`, a descriptor) from the descriptor `source`, which is closed.

    Raise OSError. It shares the bytes where the file system can, and gets the time of `status`, by which versions are
    known again. It is root's own and readable, so a hostile source can choose its bytes and nothing else.
    """
    try:
        new = os.open(target, _NEW, 0o600, dir_fd=inside)
        try:
            try:
                fcntl.ioctl(new, _CLONE, source)
            except OSError:
                while os.sendfile(new, source, None, _PIECE):
                    pass
            os.fchmod(new, 0o644)
            os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(new)
    finally:
        os.close(source)


def entry(source: Entry, target: Path) -> None:
    """Copy data and metadata/ of the open entry `source` into the new directory `target`; raise OSError.

    An entry of layout 0 becomes one of layout 6: whoever reads it later need not know.
    """
    if source.old:
        (target / "metadata").mkdir(mode=0o755, parents=True)
        for key, value in entries.properties(source).items():
            if "/" not in key and key not in ("", ".", ".."):
                (target / "metadata" / key).write_text(value, encoding="utf-8")
    for names, status in entries.files(source):
        if names == ("metadata",):  # layout 0's file of all properties
            continue
        place = target.joinpath(*names)
        for directory in dict.fromkeys((target, place.parent)):
            directory.mkdir(exist_ok=True, parents=True)
            directory.chmod(0o755)  # whatever the unit's umask: the Journal page reads keepsakes
        copy(entries.open_file(source, *names), place, status)


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
