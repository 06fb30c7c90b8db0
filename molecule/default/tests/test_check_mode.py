# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode on a bare host promises exactly what the real run then does: both lists were recorded (xs_changes)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

RUNS = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"], "build/lab", os.environ["MOLECULE_SCENARIO_NAME"], "changes")


def run(kind: str) -> list[dict[str, Any]]:
    """Return the records of the first run of site.yml of that kind."""
    first = min(RUNS.glob(f"*-{kind}-site.jsonl"))
    return [json.loads(line) for line in first.read_text(encoding="utf-8").splitlines()]


def changed(kind: str) -> list[str]:
    """Return what that run changed: host, file and line, task, items; handlers as well."""
    return [
        f"{one['host']}: {one['at']}: {one['task']} {', '.join(one['items'])}".rstrip()
        for one in run(kind)
        if one["changed"]
    ]


def test_the_real_run_changed_exactly_what_check_mode_said() -> None:
    assert changed("check") == changed("apply")


def test_there_was_something_to_change() -> None:
    assert len(changed("apply")) > 10


def test_no_failure_was_ignored() -> None:
    assert [
        one["task"] for kind in ("check", "apply") for one in run(kind) if one["state"] in {"ignored", "failed"}
    ] == []
