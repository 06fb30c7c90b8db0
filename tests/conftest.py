# SPDX-License-Identifier: GPL-3.0-or-later
"""What the archive's tests stand on: real file systems in image files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine makes no test fail: speed is measured in benches.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

MAKE = {
    "btrfs": ("mkfs.btrfs", "-q"),
    "ext4": ("mkfs.ext4", "-q", "-E", "lazy_itable_init=1"),
    "xfs": ("mkfs.xfs", "-q"),
}  # fmt: skip
OPTIONS = {"btrfs": "loop,compress=zstd,noacl"}


class FileSystems:
    """One of each kind, made when it is first asked for."""

    def __init__(self, base: Path, stack: ExitStack) -> None:
        self._base, self._stack = base, stack
        self._mounted: dict[str, Path] = {}

    def __call__(self, kind: str) -> Path:
        """Return where a file system of this kind is mounted; skip, with the reason, where none can be."""
        if kind not in self._mounted:
            self._mounted[kind] = self._mount(kind)
        return self._mounted[kind]

    def _mount(self, kind: str) -> Path:
        if os.geteuid() != 0:
            pytest.skip(f"only root can mount a {kind}")
        if shutil.which(MAKE[kind][0]) is None:
            pytest.skip(f"{MAKE[kind][0]} is not installed")
        image, mount = self._base / f"{kind}.image", self._base / kind
        mount.mkdir()
        with image.open("wb") as file:
            file.truncate(1024**3)
        subprocess.run([*MAKE[kind], str(image)], check=True, capture_output=True)
        command = ["mount", "-o", OPTIONS.get(kind, "loop"), str(image), str(mount)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"this kernel or container cannot mount a {kind}: {done.stderr.strip()}")
        self._stack.callback(image.unlink)
        self._stack.callback(subprocess.run, ["umount", "--lazy", str(mount)], check=True)
        return mount


@pytest.fixture(scope="session")
def file_systems(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileSystems]:
    """`file_systems("xfs")` is the mount point of a fresh xfs."""
    with ExitStack() as stack:
        yield FileSystems(tmp_path_factory.mktemp("file-systems"), stack)


@pytest.fixture(scope="session")
def btrfs_image(file_systems: FileSystems) -> Path:
    """The mount point of a fresh btrfs."""
    return file_systems("btrfs")


@pytest.fixture
def library(btrfs_image: Path, tmp_path: Path) -> Path:
    """An empty directory on btrfs that is this test's own."""
    directory = btrfs_image / tmp_path.name
    directory.mkdir()
    return directory


# xfs has ext4's engine: what it may do otherwise (full, cut off, decayed) is tried by name, the rest in `make soak`.
KINDS = ["btrfs", "ext4", pytest.param("xfs", marks=pytest.mark.soak)]


@pytest.fixture(params=KINDS)
def any_library(request: pytest.FixtureRequest, file_systems: FileSystems, tmp_path: Path) -> Path:
    """The same on each kind of file system in turn: what a snapshot promises does not depend on it."""
    directory = file_systems(request.param) / tmp_path.name
    directory.mkdir()
    return directory
