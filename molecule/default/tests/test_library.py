# SPDX-License-Identifier: GPL-3.0-or-later
"""The library: where the documents lie."""

from __future__ import annotations

import pytest
from testinfra.host import Host

IMAGE = "/var/lib/xs-library.img"


def test_it_is_btrfs_and_whatever_a_laptop_sends_stays_data(host: Host) -> None:
    library = host.mount_point("/library")
    assert library.filesystem == "btrfs"
    assert {"nosuid", "nodev", "noexec", "noacl"} <= set(library.options)


def test_it_is_compressed_and_reading_costs_no_write(host: Host) -> None:
    options = host.mount_point("/library").options
    assert "noatime" in options
    assert any(option.startswith("compress=zstd") for option in options)


def test_it_has_no_quota_groups_because_they_make_deletion_crawl(host: Host) -> None:
    assert host.run("btrfs qgroup show /library").failed


def test_nobody_but_root_can_list_the_trees(host: Host) -> None:
    trees = host.file("/library/users")
    assert (trees.user, trees.group, trees.mode) == ("root", "root", 0o711)


def test_the_image_is_for_root_alone_and_takes_its_whole_room_at_once(host: Host) -> None:
    # A sparse image on a disk that fills up later would lose what was written into it. So nothing is given back.
    assert not [one for one in host.mount_point("/library").options if one.startswith("discard")]
    assert host.file(IMAGE).mode == 0o600
    size, blocks = host.check_output(f"stat --format='%s %b' {IMAGE}").split()
    assert int(blocks) * 512 >= int(size)


def test_nothing_half_made_is_left(host: Host) -> None:
    assert not host.file(f"{IMAGE}.new").exists


def test_it_is_there_after_a_restart(host: Host) -> None:
    assert host.check_output("systemctl is-enabled library.mount") == "enabled"


def test_a_broken_disk_does_not_keep_the_machine_from_starting(host: Host) -> None:
    required = host.check_output("systemctl show --property=Requires --value local-fs.target")
    assert "library.mount" not in required.split()


@pytest.mark.parametrize("part", ["registrar", "snapshot", "rotation", "verify"])
def test_no_part_that_writes_runs_without_it(host: Host, part: str) -> None:
    # Otherwise it would write into the directory below, and a mount would hide that.
    unit = host.service(f"xs-{part}.service").systemd_properties
    assert "/library" in unit["RequiresMountsFor"].split()
