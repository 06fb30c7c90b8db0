# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab leaves is found again by what it is, not by a name that somebody else's may have as well."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import leftovers, places

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(shutil.which(one) for one in ("losetup", "mkfs.btrfs")),
    reason="needs root and losetup",
)


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A loop device on a file of the lab `one`; this file system stands in for that of a host."""
    monkeypatch.setattr(places, "BUILD", tmp_path)
    places.lab("one").mkdir(parents=True)
    image = tmp_path / "library.img"
    run("truncate", "--size=128M", image)
    run("mkfs.btrfs", "--quiet", image)
    device = image.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    (places.lab("one") / "file-systems").write_text(number, encoding="utf-8")
    made = run("losetup", "--find", "--show", image)
    yield made
    subprocess.run(["umount", made], capture_output=True, check=False)
    subprocess.run(["losetup", "-d", made], capture_output=True, check=False)


def test_a_loop_device_that_outlived_its_host_is_found(loop: str) -> None:
    assert loop in leftovers.loops("one")
    assert f"loop device {loop}" in leftovers.of("one")


def test_a_mount_that_outlived_its_host_is_found(loop: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    run("mount", loop, tmp_path / "here")
    assert str(tmp_path / "here") in leftovers.mounts("one")
    assert f"mount {tmp_path / 'here'}" in leftovers.of("one")


def test_a_mount_below_the_labs_own_files_is_found(loop: str) -> None:
    place = places.lab("one") / "in"
    place.mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", place)
    try:
        assert str(place) in leftovers.mounts("one")
    finally:
        run("umount", place)


def test_a_lab_that_left_nothing_has_no_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "BUILD", tmp_path)
    assert leftovers.loops("none") == leftovers.mounts("none") == []
