# SPDX-License-Identifier: GPL-3.0-or-later
"""After remove.yml the disk or image holds the documents, and nothing has it mounted."""

from __future__ import annotations

from testinfra.host import Host

DISK = "/dev/disk/by-id/lab-disk"
IMAGE = "/var/lib/xs-library.img"


def test_nothing_has_it_mounted(host: Host) -> None:
    assert host.run("findmnt /library").stdout == ""
    assert host.run(f"findmnt --source $(readlink {DISK} || echo {IMAGE})").stdout == ""
    if host.file(IMAGE).exists:  # else losetup goes by the name alone, and other labs' images have it too
        assert host.run(f"losetup --noheadings --associated {IMAGE}").stdout == ""


def test_the_documents_are_on_it(host: Host) -> None:
    library = DISK if host.file(DISK).exists else IMAGE
    host.check_output(f"mount --options ro {library} /mnt")
    try:
        assert host.file("/mnt/users/story").content_string == "once upon a time\n"
    finally:
        host.check_output("umount /mnt")
