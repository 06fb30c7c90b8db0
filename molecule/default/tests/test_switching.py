# SPDX-License-Identifier: GPL-3.0-or-later
"""A part can be switched off and on again, alone."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
INVENTORY = PROJECT / "build/lab" / os.environ["MOLECULE_SCENARIO_NAME"] / "inventory/hosts.yml"


def test_a_part_that_is_switched_off_is_gone_and_comes_back(host: Host) -> None:
    for enabled in (False, True):
        settings = json.dumps({"xs_journal_enabled": enabled})
        done = subprocess.run(
            ["ansible-playbook", "--inventory", INVENTORY, PROJECT / "playbooks/site.yml", "--tags=xs_journal",
             "--extra-vars", settings],
            env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")},
            cwd=PROJECT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]
        assert host.file("/etc/nginx/xs.d/journal.conf").exists is enabled
        assert host.service("xs-journal.socket").is_running is enabled
        assert host.service("xs-journal.socket").is_enabled is enabled
        assert host.service("nginx").is_running
