# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what each task said it changed, so that a test can hold check mode to what the real run then does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase

PROJECT = Path(__file__).resolve().parents[3]

DOCUMENTATION = """
    name: xs_changes
    type: aggregate
    short_description: Record changed tasks as JSON lines
    description:
      - Writes one line a task and host into the directory that the environment variable E(XS_CHANGES) names,
        one file a run, V(<number>-<check|apply>-<playbook>.jsonl).
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible carries no types
    """One file a run; handlers are tasks like any other."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "xs_changes"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.file: Path | None = None

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Choose the file of this run."""
        directory = Path(os.environ.get("XS_CHANGES", ""))
        name = Path(playbook._file_name).stem
        # Creating and destroying a lab are no runs on a host.
        if "XS_CHANGES" not in os.environ or name in {"create", "destroy"}:
            return
        directory.mkdir(parents=True, exist_ok=True)
        number = len(list(directory.iterdir())) + 1
        kind = "check" if context.CLIARGS["check"] else "apply"
        self.file = directory / f"{number:02}-{kind}-{name}.jsonl"
        self.file.touch()

    def v2_runner_on_ok(self, result: Any) -> None:
        """Note what a task did on a host."""
        self._note(result, "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Note that a task failed on a host."""
        self._note(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Note that a task did not run on a host."""
        self._note(result, "skipped")

    def _note(self, result: Any, state: str) -> None:
        if self.file is None:
            return
        said = result._result
        task = result._task
        items = [one for one in said.get("results", []) if isinstance(one, dict) and one.get("changed")]
        note = {
            "host": result._host.get_name(),
            "task": task.get_name(),
            "at": os.path.relpath(task.get_path(), PROJECT) if task.get_path() else "",
            "handler": type(task).__name__ == "Handler",
            "state": state,
            "changed": bool(said.get("changed", False)),
            "items": [str(one.get("_ansible_item_label", one.get("item", ""))) for one in items],
        }
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(note) + "\n")
