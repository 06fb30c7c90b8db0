# SPDX-License-Identifier: GPL-3.0-or-later
"""What a school switches is so, and switched back it is as before, alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

SITE = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "playbooks/site.yml"


@dataclass(frozen=True)
class Run:
    """One run of site.yml: whether it switched or switched back, and what it said."""

    switched: bool
    said: str


@pytest.fixture(scope="module", params=[True, False], ids=["switched", "switched back"])
def run(request: pytest.FixtureRequest, host: Host, play: Callable[..., Any], takes_dsa: bool) -> Run:
    """The Journal page off, and old laptops let in where they are not by themselves, or kept out; then both back."""
    settings = {"xs_journal_enabled": False, "xs_accounts_old_laptops": not takes_dsa} if request.param else {}
    done = play(SITE, "--tags=xs_journal,xs_accounts_configure", "--extra-vars", json.dumps(settings))
    assert done.returncode == 0, done.stdout[-3000:]
    return Run(request.param, " ".join(done.stdout.split()))


def test_a_part_that_is_switched_off_is_gone_and_comes_back(host: Host, run: Run) -> None:
    enabled = not run.switched
    assert host.file("/etc/nginx/xs.d/journal.conf").exists is enabled
    assert host.service("xs-journal.socket").is_running is enabled
    assert host.service("xs-journal.socket").is_enabled is enabled
    assert host.service("nginx").is_running


def test_old_laptops_are_let_in_or_kept_out_as_the_school_says(host: Host, run: Run, takes_dsa: bool) -> None:
    settings = host.check_output("sshd -T")
    old = takes_dsa is not run.switched
    assert ("diffie-hellman-group14-sha1" in settings) is old
    assert (",ssh-rsa" in settings) is old


def test_a_server_that_takes_no_dsa_keys_says_so_each_time(run: Run, name: str, takes_dsa: bool) -> None:
    assert (f"{name} takes no DSA keys, because its OpenSSH no longer knows them" in run.said) is not takes_dsa
