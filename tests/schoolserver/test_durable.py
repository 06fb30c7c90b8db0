# SPDX-License-Identifier: GPL-3.0-or-later
"""Replacing a file: never seen half, never through a link."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from schoolserver import durable


def test_the_file_has_the_text_the_mode_and_the_group(tmp_path: Path) -> None:
    file = tmp_path / "file"
    durable.replace(file, "नमस्ते", 0o640, 20000)
    status = file.stat()
    assert file.read_text(encoding="utf-8") == "नमस्ते"
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 0, 20000)


def test_a_failure_leaves_the_old_file_and_the_next_try_succeeds(tmp_path: Path) -> None:
    file = tmp_path / "file"
    durable.replace(file, "old", 0o600)
    with pytest.raises(UnicodeEncodeError):
        durable.replace(file, "half\ud800", 0o600)
    assert file.read_text() == "old"
    durable.replace(file, "new", 0o600)
    assert file.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_link_that_waits_under_the_temporary_name_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".file.new").symlink_to(victim)
    durable.replace(tmp_path / "file", "text", 0o600)
    assert victim.read_text() == "mine"
