# SPDX-License-Identifier: GPL-3.0-or-later
"""Room that an image gave back is noticed, with a real file, and mounts and devices as the kernel shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schoolserver import image_room

MIB = 1 << 20
MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:45 / /library rw,nosuid shared:2 - btrfs /dev/loop3 rw,compress=zstd:3
31 22 0:46 / /libraryother rw shared:3 - btrfs /dev/loop4 rw
32 22 0:5 / /proc rw - proc proc rw
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image of 4 MiB that has all its room."""
    file = tmp_path / "library.img"
    file.touch()
    with file.open("r+b") as opened:
        os.posix_fallocate(opened.fileno(), 0, 4 * MIB)
    loop = tmp_path / "block/loop3/loop"
    loop.mkdir(parents=True)
    (loop / "backing_file").write_text(f"{file}\n")
    return file


def lacking(where: Path, mounts: str = MOUNTS, users: str = "/library/users") -> int:
    (where / "mountinfo").write_text(mounts)
    return image_room.lacking(Path(users), where / "mountinfo", where / "block")


def test_an_image_with_all_its_room_lacks_nothing(image: Path) -> None:
    assert lacking(image.parent) == 0


def test_what_was_given_back_is_counted(image: Path) -> None:
    os.truncate(image, MIB)
    os.truncate(image, 4 * MIB)
    assert lacking(image.parent) == 3 * MIB


@pytest.mark.parametrize(
    ("mounts", "users"),
    [
        (MOUNTS.replace("/dev/loop3", "/dev/sdb"), "/library/users"),
        (MOUNTS, "/library-elsewhere/users"),
        (MOUNTS, "/libraryother/users"),
        ("", "/library/users"),
    ],
    ids=["a disk of its own", "not mounted", "another image that is gone", "nothing is known"],
)
def test_what_is_no_image_lacks_nothing(image: Path, mounts: str, users: str) -> None:
    os.truncate(image, 8 * MIB)
    assert lacking(image.parent, mounts, users) == 0


def test_the_mount_above_counts(image: Path) -> None:
    os.truncate(image, 5 * MIB)
    above = MOUNTS + "33 30 0:47 / /library rw - btrfs /dev/sdb rw\n"
    assert lacking(image.parent, above) == 0
