# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings: a wrong one is named with its file and the way to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest

from schoolserver import settings
from schoolserver.errors import Refusal


def test_a_part_without_a_file_runs_on_its_defaults(tmp_path: Path) -> None:
    assert settings.load("snapshots", tmp_path) == settings.Snapshots(keep_days=90)


def test_a_given_setting_is_taken(tmp_path: Path) -> None:
    (tmp_path / "snapshots.toml").write_text("keep_days = 30\n", encoding="utf-8")
    assert settings.load("snapshots", tmp_path).keep_days == 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keep_day = 30", "unknown setting keep_day; known here: keep_days"),
        ('keep_days = "30"', "keep_days must be of type int, not str"),
        ("keep_days = true", "keep_days must be of type int, not bool"),
        ("keep_days = 0", "keep_days must be above zero"),
        ("keep_days", "not TOML"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "snapshots.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(Refusal, match=message) as refusal:
        settings.load("snapshots", tmp_path)
    assert str(file) in str(refusal.value)
