# SPDX-License-Identifier: GPL-3.0-or-later
"""The technician with Ansible: playbooks and modules, run as a school runs them."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[3]
LAB = PROJECT / "build" / "lab" / "identity"
INVENTORY = LAB / "inventory"
HOMES = LAB / "laptops"  # where the laptops stand, also for the tests after the move
IDENTITY = LAB / "identity"  # who was who before it


def play(playbook: str | Path, *options: str, **variables: Any) -> str:
    """Run `playbook` on the school server with `variables` set, and return what it said; fail if it failed."""
    done = subprocess.run(
        ["ansible-playbook", f"--inventory={INVENTORY}", PROJECT / playbook, *options,
         "--extra-vars", json.dumps({"xs_library_device": "/dev/disk/by-id/lab-disk", **variables})],
        # molecule's own settings know nothing of library/ here; the project's do.
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")},
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout


def xs_laptop(**arguments: Any) -> str:
    """Run the module xs_laptop on the school server from a playbook of one task; fail if it failed."""
    tasks = [{"xs_laptop": arguments}]
    with tempfile.TemporaryDirectory() as directory:
        playbook = Path(directory, "playbook.yml")
        playbook.write_text(json.dumps([{"hosts": "schoolservers", "gather_facts": False, "tasks": tasks}]), "utf-8")
        return play(playbook)
