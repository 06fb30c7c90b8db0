# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the image that holds the library has all its room on the disk below: what it gave back, others may take.

The role xs_library takes it whole, and mounts so that the file system gives nothing back; `fstrim --all` does all the
same, and so does a copy that leaves holes.
"""

from __future__ import annotations

import os
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_BLOCKS = Path("/sys/block")
_STAT_BLOCK = 512  # bytes, whatever the file system's own blocks are: stat(2)


def lacking(users: Path, mounts: Path = _MOUNTS, blocks: Path = _BLOCKS) -> int:
    """Return how many bytes the image lacks in which the directory `users` lies; 0 for none, or where nothing tells."""
    try:
        device = _device(users, mounts.read_text(encoding="utf-8"))
        image = (blocks / device.rpartition("/")[2] / "loop/backing_file").read_text(encoding="utf-8").strip()
        found = os.stat(image)
    except OSError:
        return 0
    return max(0, found.st_size - found.st_blocks * _STAT_BLOCK)


def _device(users: Path, mounts: str) -> str:
    """Return the device that is mounted where `users` lies, by mountinfo (proc_pid_mountinfo(5)); "" for none."""
    best, device = "", ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        point = left.split(" ")[4]
        # The last one counts: it is mounted over the others.
        if users.is_relative_to(point) and len(point) >= len(best):
            best, device = point, right.split(" ")[1]
    return device
