# SPDX-License-Identifier: GPL-3.0-or-later
"""Listing and fetching over a real rsync; how one that fails is understood."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server_side import OWN, STAMP, School, uid_of, write
from xo_client import rsync
from xo_client.errors import Trouble
from xo_client.rsync import File, Remote

PLACE = f"datastore/{STAMP}"


@pytest.fixture
def school(tmp_path: Path) -> School:
    return School(tmp_path / "school")


def test_a_listing_names_everything_and_fetches_nothing(school: School) -> None:
    snapshot = school.snapshot()
    names = [
        "plain",
        "two words",
        "a\nb",
        "\\#012",
        "é",
        " -> ",
        os.fsdecode(b"\xff\xfe"),
        os.fsdecode("é".encode() + b"\xff\n"),
    ]
    for number, name in enumerate(names):
        (snapshot / name).write_bytes(b"x" * number * 1000)
        os.utime(snapshot / name, (1_000_000_000 + number, 1_000_000_000 + number))
    (snapshot / "link -> there").symlink_to("nowhere")
    found = {file.path: file for file in rsync.listing(school.remote, PLACE)[0]}
    for number, name in enumerate(names):
        assert found[name] == File(name, "-", number * 1000, 1_000_000_000 + number)
    assert found["link -> there"].kind == "l"
    assert found["index"].kind == "d"


def test_what_is_not_there_is_trouble(school: School) -> None:
    (school.top / OWN).mkdir(exist_ok=True)
    with pytest.raises(Trouble):
        rsync.listing(school.remote, PLACE)


@pytest.mark.parametrize(
    ("code", "err", "reason"),
    [
        (11, 'rsync: [receiver] write failed on "x": No space left on device (28)', "room"),
        (23, 'rsync: [receiver] mkstemp "x" failed: Disk quota exceeded (122)', "room"),
        (11, 'rsync: [generator] recv_generator: mkdir "x" failed: Read-only file system (30)', "disk"),
        (23, 'rsync: [sender] read errors mapping "x": Input/output error (5)', None),
        (24, "", None),
        (12, "rsync: connection unexpectedly closed", "network"),
        (255, "Host key verification failed.", "stranger"),
    ],
)
def test_how_a_fetch_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, err: str, reason: str | None
) -> None:
    program = tmp_path / "bin" / "rsync"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{err}\nEND\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    try:
        rsync.pull(Remote(["ssh", "school"]), PLACE, tmp_path / "into")
        assert reason is None
    except Trouble as trouble:
        assert trouble.reason == reason


def test_a_full_disk_says_so_and_what_came_stays(school: School, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    small = tmp_path / "small"
    small.mkdir()
    assert os.system(f"mount -t tmpfs -o size=1m none {small}") == 0
    try:
        snapshot = school.snapshot()
        for number in range(20):
            write(snapshot, uid_of(number), data=os.urandom(100_000))
        with pytest.raises(Trouble) as trouble:
            rsync.pull(school.remote, PLACE, small / "into")
        assert trouble.value.reason == "room"
        assert list((small / "into").glob("??/*/data"))
    finally:
        os.system(f"umount {small}")
