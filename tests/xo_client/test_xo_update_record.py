# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of the last update is whole or not there, whatever the disk says."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xo_client import update_record
from xo_client.cli_backup import versions
from xo_client.publication import Published
from xo_client.update_record import Record

FAILED = Record("failed", "0.1.0", "0.1.0", "0.2.0", "Version 0.2.0 did not work.", "2026-11-26T12:00:00Z", "0.2.0")


def test_what_is_written_is_read_and_everybody_can_read_it(tmp_path: Path) -> None:
    update_record.write(FAILED, tmp_path / "new" / "update.json")
    assert update_record.read(tmp_path / "new" / "update.json") == FAILED
    assert stat.S_IMODE((tmp_path / "new" / "update.json").stat().st_mode) == 0o644
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["update.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"outcome": "fine"}', '{"outcome": ["updated"]}', '{"a":' * 9999])
def test_what_is_no_record_is_none(text: str) -> None:
    assert update_record.parse(text) is None


@given(st.text())
def test_a_message_steers_no_terminal(message: str) -> None:
    found = update_record.parse(FAILED._replace(message=message).text())
    assert found is not None
    assert found.message.isprintable()


def test_status_says_which_version_runs_what_the_school_has_and_what_failed() -> None:
    said = versions("0.1.0", Published("0.2.0", ""), FAILED)
    assert said == [
        "This laptop has version 0.1.0 of the backup program, the school server has 0.2.0.",
        "Version 0.2.0 did not work.",
    ]
    assert versions("0.1.0", None, None) == ["This laptop has version 0.1.0 of the backup program."]


def test_a_failure_of_another_version_is_over() -> None:
    assert len(versions("0.3.0", Published("0.3.0", ""), FAILED)) == 1
