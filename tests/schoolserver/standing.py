# SPDX-License-Identifier: GPL-3.0-or-later
"""A school server's directories for tests, and all that can be seen in them."""

from __future__ import annotations

from pathlib import Path

from schoolserver.house import House


def make_house(top: Path) -> House:
    """Return the directories of a school server below `top`, made."""
    house = House(top / "users", top / "state", top / "extrausers", top / "keys")
    for directory in (house.users, house.state, house.extrausers, house.keys):
        directory.mkdir()
    return house


def everything(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Every file below `directory` with mode, owners and content; the registry, whose bytes differ, by its presence."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and path.name != "registry.db" else b""
        found[str(path.relative_to(directory))] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found
