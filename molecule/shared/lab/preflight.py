# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be so before a host can boot; each thing that is not is one line that says what to do."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from lab import images
from lab.trouble import Trouble, call, installed, succeeds

GIB = 1024**3
FRESH_GIB = 10  # two images, two hosts, and the image file of a library
WARM_GIB = 6
PROGRAMS = ("podman", "mmdebstrap", "ssh", "ssh-keygen", "losetup")


def check(target: str, needed: set[str]) -> None:
    """Return when `make <target>` can boot hosts of the images `needed`; raise Trouble with what is in the way."""
    if os.geteuid() != 0:
        raise Trouble(f"run as root: sudo make {target}")
    if absent := [one for one in PROGRAMS if not installed(one)]:
        raise Trouble(f"{', '.join(absent)} missing: make -B setup")
    store = Path(call("podman", "info", "--format", "{{.Store.GraphRoot}}"))
    there = all(succeeds("podman", "image", "exists", images.tag(name)) for name in needed)
    for place in (store, Path(tempfile.gettempdir())):
        need = WARM_GIB if there else FRESH_GIB
        free = shutil.disk_usage(_nearest(place)).free
        if free < need * GIB:
            raise Trouble(f"{need} GiB free are needed below {place}, there are {free / GIB:.1f}: make room there")
    if not Path("/dev/loop-control").exists() and not succeeds("modprobe", "loop"):
        raise Trouble("this machine has no loop devices: use a machine or VM whose kernel has the loop module")
    if "\tbtrfs\n" not in Path("/proc/filesystems").read_text(encoding="utf-8") and not succeeds("modprobe", "btrfs"):
        raise Trouble("this machine's kernel has no btrfs: use Debian's own kernel")


def _nearest(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
