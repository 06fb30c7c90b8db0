# SPDX-License-Identifier: GPL-3.0-or-later
"""A file is replaced whole, or not at all, whenever the power goes."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, text: str, mode: int, gid: int = 0, *, derived: bool = False) -> None:
    """Make `path` hold `text`, owned by root and the group `gid`, on disk before this returns; raise OSError.

    Whoever reads meanwhile sees the old file or the new one. One writer at a time. A `derived` file is not waited for:
    it is compared with its source, and made again, at the next start.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    # O_EXCL and 0600: nobody has the file open, or can put a link in its place, before owner and mode are right.
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    publish(new, path, mode, gid, derived=derived)


def publish(new: Path, path: Path, mode: int, gid: int = 0, *, derived: bool = False) -> None:
    """Move the finished file `new` to `path` in the same directory, as replace() does; raise OSError."""
    descriptor = os.open(new, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fchown(descriptor, 0, gid)
        os.fchmod(descriptor, mode)
        if not derived:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(path)
    if not derived:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Return when the names in the directory `path` are on disk; raise OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
