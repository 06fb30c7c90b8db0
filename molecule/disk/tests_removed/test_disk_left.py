# SPDX-License-Identifier: GPL-3.0-or-later
"""After remove.yml the disk holds the documents, and nothing has it mounted."""

from __future__ import annotations

from testinfra.host import Host

DISK = "/dev/disk/by-id/lab-disk"


def test_the_disk_is_free(host: Host) -> None:
    assert host.run(f"findmnt --source $(readlink {DISK})").stdout == ""


def test_the_documents_are_on_it(host: Host) -> None:
    host.check_output(f"mount --options ro {DISK} /mnt")
    try:
        assert host.file("/mnt/users/story").content_string == "once upon a time\n"
    finally:
        host.check_output("umount /mnt")
