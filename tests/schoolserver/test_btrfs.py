# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest

from schoolserver import btrfs


def test_a_created_subvolume_is_one_and_a_directory_is_none(library: Path) -> None:
    btrfs.create_subvolume(library / "incoming")
    (library / "plain").mkdir()
    (library / "link").symlink_to("incoming")
    assert btrfs.is_subvolume(library / "incoming")
    for other in ("plain", "link", "missing"):
        assert not btrfs.is_subvolume(library / other)
    assert not btrfs.is_subvolume(Path("/proc"))


def test_what_is_there_is_not_replaced(library: Path) -> None:
    (library / "there").mkdir()
    with pytest.raises(FileExistsError):
        btrfs.create_subvolume(library / "there")


def test_a_snapshot_keeps_what_was_there_and_leaves_nested_subvolumes_out(library: Path) -> None:
    incoming = library / "incoming"
    btrfs.create_subvolume(incoming)
    btrfs.create_subvolume(incoming / "index")
    (incoming / "index" / "cache").write_text("cache")
    (incoming / "letter").write_text("first")
    btrfs.snapshot(incoming, library / "kept")
    assert btrfs.is_read_only(library / "kept")
    (incoming / "letter").write_text("second")
    assert (library / "kept" / "letter").read_text() == "first"
    assert list((library / "kept" / "index").iterdir()) == []


def test_a_read_only_snapshot_refuses_writes_until_it_is_made_writable(library: Path) -> None:
    btrfs.create_subvolume(library / "incoming")
    btrfs.set_read_only(library / "incoming", True)
    assert btrfs.is_read_only(library / "incoming")
    with pytest.raises(OSError, match="Read-only"):
        (library / "incoming" / "letter").write_text("x")
    btrfs.set_read_only(library / "incoming", False)
    (library / "incoming" / "letter").write_text("x")


def test_a_link_in_place_of_a_subvolume_is_not_followed(library: Path) -> None:
    btrfs.create_subvolume(library / "others")
    (library / "link").symlink_to("others")
    with pytest.raises(OSError):
        btrfs.snapshot(library / "link", library / "stolen")
    with pytest.raises(OSError):
        btrfs.delete_subvolume(library / "link")
    assert btrfs.is_subvolume(library / "others")


def test_a_subvolume_goes_with_the_caches_nested_in_it(library: Path) -> None:
    incoming = library / "incoming"
    btrfs.create_subvolume(incoming)
    btrfs.create_subvolume(incoming / "index")
    (incoming / "index" / "cache").write_text("cache")
    btrfs.set_read_only(incoming, True)
    btrfs.delete_subvolume(incoming)
    btrfs.sync(library)
    assert os.listdir(library) == []
