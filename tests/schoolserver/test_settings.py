# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings: a wrong one is named with its file and the way to mend it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from schoolserver import settings
from schoolserver.errors import Refusal


def test_a_part_without_a_file_runs_on_its_defaults(tmp_path: Path) -> None:
    assert settings.load("snapshots", tmp_path) == settings.Snapshots(30, 120, 0, 80)


def test_a_given_setting_is_taken(tmp_path: Path) -> None:
    (tmp_path / "snapshots.toml").write_text("keep_all_days = 14\n", encoding="utf-8")
    assert settings.load("snapshots", tmp_path) == settings.Snapshots(keep_all_days=14)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keep_day = 30", "unknown setting keep_day; known here: keep_all_days, "),
        ('keep_all_days = "30"', "keep_all_days must be of type int, not str"),
        ("keep_all_days = true", "keep_all_days must be of type int, not bool"),
        ("keep_all_days = 0", "keep_all_days must be above zero"),
        ("keep_monthly_days = -1", "keep_monthly_days must be 0 or more"),
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


@pytest.mark.parametrize(("before", "kept"), [(90, 90), (7, 30)])
def test_what_the_old_setting_kept_stays_until_the_role_has_written_the_new_ones(before: int, kept: int) -> None:
    assert settings.parse("snapshots", f"keep_days = {before}", "x") == settings.Snapshots(keep_all_days=kept)
    both = settings.parse("snapshots", f"keep_days = {before}\nkeep_all_days = 14", "x")
    assert both == settings.Snapshots(keep_all_days=14)


# Lists, choices, and yes or no.


def test_a_list_a_choice_and_a_switch_are_taken() -> None:
    text = 'newcomers = "list"\nserials = ["SHC12345678", "SHC00000011"]\nmost_laptops = 40\nrekey = "automatic"\n'
    given = settings.parse("registration", text, "registration.toml")
    assert given == settings.Registration(
        newcomers="list", serials=("SHC12345678", "SHC00000011"), most_laptops=40, rekey="automatic"
    )
    assert settings.parse("registration", "serials = []", "x").serials == ()
    assert settings.parse("accounts", "dsa = false", "x").dsa is False


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("registration", 'newcomers = "all"', "newcomers must be one of open, list, closed"),
        ("registration", 'newcomers = ""', "newcomers must be one of open, list, closed"),
        ("registration", 'newcomers = ["open"]', "newcomers must be of type str, not list"),
        ("registration", 'rekey = "Ask"', "rekey must be one of ask, automatic"),
        ("registration", "rekey = true", "rekey must be of type str, not bool"),
        ("registration", 'serials = "SHC12345678"', "serials must be a list of texts"),
        ("registration", "serials = [1]", "serials must be a list of texts"),
        ("registration", 'serials = [["SHC12345678"]]', "serials must be a list of texts"),
        ("registration", "serials = {}", "serials must be a list of texts"),
        ("registration", "most_laptops = 0", "most_laptops must be above zero"),
        ("registration", "most_laptops = 3e3", "most_laptops must be of type int, not float"),
        ("accounts", 'dsa = "no"', "dsa must be of type bool, not str"),
        ("accounts", "dsa = 0", "dsa must be of type bool, not int"),
    ],
)
def test_another_list_choice_or_switch_is_refused_with_what_it_must_be(part: str, text: str, message: str) -> None:
    with pytest.raises(Refusal, match=f"^registration.toml: {message}$"):
        settings.parse(part, text, "registration.toml")


@pytest.mark.parametrize("part", sorted(settings.PARTS))
def test_the_defaults_of_a_part_are_settings_that_it_takes(part: str) -> None:
    lines = []
    for one in fields(settings.PARTS[part]):
        value = list(one.default) if isinstance(one.default, tuple) else one.default
        lines.append(f"{one.name} = {json.dumps(value)}")  # what JSON and TOML have in common is all that is needed
    assert settings.parse(part, "\n".join(lines), part) == settings.PARTS[part]()
