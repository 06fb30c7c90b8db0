# SPDX-License-Identifier: GPL-3.0-or-later
"""The library lies on the disk that the inventory names."""

from __future__ import annotations

from testinfra.host import Host

DISK = "/dev/disk/by-id/lab-disk"


def test_it_is_mounted_by_its_uuid(with_disk: Host) -> None:
    assert with_disk.mount_point("/library").device == with_disk.check_output(f"readlink {DISK}")
    uuid = with_disk.check_output(f"blkid --probe --output value --match-tag UUID {DISK}")
    assert f"What=/dev/disk/by-uuid/{uuid}" in with_disk.file("/etc/systemd/system/library.mount").content_string


def test_nothing_lies_on_the_systems_own_disk(with_disk: Host) -> None:
    assert not with_disk.file("/var/lib/xs-library.img").exists
