# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab keeps its things. All of it is under build/, but for the ssh sockets, whose paths must be short."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
MOLECULE = PROJECT / "molecule"
IMAGES = MOLECULE / "shared" / "images"
GROUP_VARS = MOLECULE / "shared" / "group_vars"
BUILD = PROJECT / "build"
LOGS = BUILD / "logs"
RUNTIME = BUILD / "container-flags.json"
VENV = PROJECT / ".venv"


def lab(name: str) -> Path:
    """Return the directory of the lab `name`: its inventory, its ssh key, what its runs recorded."""
    return BUILD / "lab" / name


def inventory(name: str) -> Path:
    """Return the Ansible inventory file of the lab `name`."""
    return lab(name) / "inventory" / "hosts.yml"


def ssh_config(name: str) -> Path:
    """Return the ssh configuration that reaches the hosts of the lab `name` by their short names."""
    return lab(name) / "ssh_config"


def sockets(name: str) -> Path:
    """Return the directory of the shared ssh connections of the lab `name`."""
    return Path("/run/xs-lab") / name
