# SPDX-License-Identifier: GPL-3.0-or-later
"""The library lies in an image, where the inventory names no disk."""

from __future__ import annotations

from testinfra.host import Host


def test_it_has_its_whole_room_again_that_an_earlier_version_gave_back(with_image: Host) -> None:
    size, blocks = with_image.check_output("stat --format='%s %b' /var/lib/xs-library.img").split()
    assert int(blocks) * 512 >= int(size)
