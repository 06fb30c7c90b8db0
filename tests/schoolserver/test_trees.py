# SPDX-License-Identifier: GPL-3.0-or-later
"""A tree on a real btrfs: what it is made of, and how a half-made one becomes whole."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from pathlib import Path

import pytest

from laptops import JIM, after, request
from schoolserver import btrfs, trees

ACCOUNT = after(request()).accounts[JIM]
ROOT, OWN = 0, ACCOUNT.uid
LAYOUT = {
    ".": (ROOT, OWN, 0o550),
    "account.json": (ROOT, OWN, 0o640),
    "datastore-current": (OWN, OWN, 0o755),
    "datastore-current/index": (OWN, OWN, 0o755),
    "datastore-current/checksums": (OWN, OWN, 0o755),
    "documents": (OWN, OWN, 0o755),
    "documents-history": (ROOT, ROOT, 0o755),
    "power-logs": (OWN, OWN, 0o755),
    "datastore": (ROOT, ROOT, 0o755),
    "keepsakes": (ROOT, ROOT, 0o755),
    ".state": (OWN, OWN, 0o700),
}


def layout(tree: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in (tree, *tree.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(tree))] = (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
    return found


@pytest.fixture
def tree(library: Path) -> Path:
    trees.make(library, [ACCOUNT])
    trees.complete(library, ACCOUNT)
    return library / JIM


def test_a_tree_is_what_the_architecture_page_says(tree: Path) -> None:
    assert layout(tree) == LAYOUT
    for name in ("datastore-current", "datastore-current/index", "datastore-current/checksums"):
        assert btrfs.is_subvolume(tree / name)


def test_completing_a_complete_tree_touches_nothing(tree: Path) -> None:
    before = {path: path.lstat().st_ctime_ns for path in (tree, *tree.rglob("*"))}
    trees.complete(tree.parent, ACCOUNT)
    assert {path: path.lstat().st_ctime_ns for path in (tree, *tree.rglob("*"))} == before


def test_a_tree_that_is_only_an_account_yet_is_made_whole(library: Path) -> None:
    trees.make(library, [ACCOUNT])
    trees.complete(library, ACCOUNT)
    assert layout(library / JIM) == LAYOUT


def test_an_incoming_that_a_crash_left_half_made_is_made_again(tree: Path) -> None:
    btrfs.delete_subvolume(tree / "datastore-current")
    btrfs.create_subvolume(tree / ".new")
    btrfs.create_subvolume(tree / ".new" / "index")
    trees.complete(tree.parent, ACCOUNT)
    assert layout(tree) == LAYOUT


def test_wrong_owners_and_modes_are_put_right(tree: Path) -> None:
    tree.chmod(0o777)
    os.chown(tree / "datastore", OWN, OWN)
    (tree / ".state").chmod(0o755)
    trees.complete(tree.parent, ACCOUNT)
    assert layout(tree) == LAYOUT


def test_documents_that_are_there_already_stay(tree: Path) -> None:
    (tree / "datastore-current" / "version").write_text("6")
    (tree / "datastore-current" / "index").rmdir()  # a laptop may remove it; the snapshot part makes it again
    trees.complete(tree.parent, ACCOUNT)
    assert (tree / "datastore-current" / "version").read_text() == "6"


def test_a_link_in_a_directorys_place_is_not_followed(tree: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(0o700)
    (tree / "documents").rmdir()
    (tree / "documents").symlink_to(victim)
    with pytest.raises(OSError, match="documents"):
        trees.complete(tree.parent, ACCOUNT)
    assert (victim.stat().st_uid, stat.S_IMODE(victim.stat().st_mode)) == (0, 0o700)


def test_a_reading_service_gets_in_and_a_stranger_does_not(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel judges: nobody stands for the Journal page's user, which is not on every machine that runs the tests.
    reader = pwd.getpwnam("nobody").pw_uid
    monkeypatch.setattr(trees, "READER", "nobody")
    trees.complete(tree.parent, ACCOUNT)
    root = os.open(tree, os.O_RDONLY)
    try:
        for uid, allowed in ((reader, True), (OWN + 1, False)):
            listing = subprocess.run(
                ["ls", f"/proc/self/fd/{root}/"], user=uid, group=uid, extra_groups=[], pass_fds=[root],
                capture_output=True, check=False,
            )  # fmt: skip
            assert (listing.returncode == 0) is allowed
        made = subprocess.run(
            ["mkdir", f"/proc/self/fd/{root}/x"], user=reader, group=reader, extra_groups=[], pass_fds=[root],
            capture_output=True, check=False,
        )  # fmt: skip
        assert made.returncode != 0
    finally:
        os.close(root)
