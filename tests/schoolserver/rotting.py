# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that lose bits: what stands in an image file is changed behind the back of the file system on it."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from schoolserver import engines


def rot(mount: Path, content: bytes) -> None:
    """Change a byte wherever the image of the file system mounted at `mount` holds `content`, which it does."""
    engines.of(mount).sync(mount)
    image = mount.with_name(f"{mount.name}.image")
    places = []
    with image.open("r+b") as file, mmap.mmap(file.fileno(), 0) as disk:
        place = disk.find(content)
        while place >= 0:
            places.append(place)
            disk[place] ^= 0xFF
            place = disk.find(content, place + 1)
        disk.flush()
    assert places, "the image does not hold it: it may be compressed"


def noise() -> bytes:
    """Return content that no file system can make smaller, and that stands nowhere else."""
    return os.urandom(64 * 1024)
