# SPDX-License-Identifier: GPL-3.0-or-later
"""What the archive's tests stand on: a real btrfs in an image file."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="session")
def btrfs_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The mount point of a fresh btrfs; skips, with the reason, where none can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a btrfs")
    if shutil.which("mkfs.btrfs") is None:
        pytest.skip("btrfs-progs is not installed")
    base = tmp_path_factory.mktemp("btrfs")
    image, mount = base / "image", base / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(1024**3)
    _run("mkfs.btrfs", "-q", str(image))
    try:
        _run("mount", "-o", "loop,compress=zstd", str(image), str(mount))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this kernel or container cannot mount a btrfs: {error.stderr.decode().strip()}")
    try:
        yield mount
    finally:
        _run("umount", "--lazy", str(mount))
        image.unlink()


@pytest.fixture
def library(btrfs_image: Path, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An empty directory on btrfs that is this test's own."""
    directory = btrfs_image / tmp_path.name
    directory.mkdir()
    return directory
