# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode on a bare host promises exactly what the real run then does: both lists were recorded (xs_changes)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RUNS = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"], "build/lab", os.environ["MOLECULE_SCENARIO_NAME"], "changes")


Run = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def run(name: str) -> Run:
    """`run("check")` returns the records of the first run of site.yml of that kind, those of the host."""

    def read(kind: str) -> list[dict[str, Any]]:
        first = min(RUNS.glob(f"*-{kind}-site.jsonl"))
        notes = [json.loads(line) for line in first.read_text(encoding="utf-8").splitlines()]
        return [note for note in notes if note["host"] == name]

    return read


def changed(notes: list[dict[str, Any]]) -> list[str]:
    """Return what a run changed: file and line, task, items; handlers as well."""
    return [f"{one['at']}: {one['task']} {', '.join(one['items'])}".rstrip() for one in notes if one["changed"]]


def test_the_real_run_changed_exactly_what_check_mode_said(run: Run) -> None:
    assert changed(run("check")) == changed(run("apply"))


def test_there_was_something_to_change(run: Run) -> None:
    assert len(changed(run("apply"))) > 10


def test_no_failure_was_ignored(run: Run) -> None:
    assert [
        one["task"] for kind in ("check", "apply") for one in run(kind) if one["state"] in {"ignored", "failed"}
    ] == []
