# SPDX-License-Identifier: GPL-3.0-or-later
"""After remove.yml: the machine is as it was, and the documents are still there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
INVENTORY = PROJECT / "build/lab" / os.environ["MOLECULE_SCENARIO_NAME"] / "inventory/hosts.yml"
STATE = Path(__file__).parents[1] / "state.sh"
IMAGE = "/var/lib/xs-library.img"


def name(host: Host) -> str:
    """Return what the inventory calls `host`."""
    return str(host.backend.get_hostname())


def test_the_documents_are_still_there(host: Host) -> None:
    host.check_output(f"mount --options loop,ro {IMAGE} /mnt")
    try:
        trees = host.check_output("ls /mnt/users").split()
        accounts = host.check_output("ls /mnt/users/*/account.json").split()
    finally:
        host.check_output("umount /mnt")
    assert len(trees) >= 1
    assert len(accounts) == len(trees)


def test_the_machine_is_as_it_was_but_for_the_library(host: Host) -> None:
    before = (INVENTORY.parents[1] / f"before-{name(host)}").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("port ") for line in before)  # its last section: the list is whole
    after = host.check_output("sh -c %s", STATE.read_text(encoding="utf-8")).splitlines()
    assert sorted(set(before) - set(after)) == []
    assert sorted(set(after) - set(before)) == [f"file {IMAGE} f 600 root root"]


def test_what_runs_is_as_before(host: Host) -> None:
    names = ("xs", "xs-*", "*schoolserver*", "library")
    wanted = " -o ".join(f"-name '{name}'" for name in names)
    assert host.run(f"find /run /library /usr -xdev \\( {wanted} \\)").stdout.split() == []
    settings = host.check_output("sshd -T")
    assert "ssh-dss" not in settings
    assert "10.0.0.0/8" not in settings
    assert "\nmaxstartups 10:30:100\n" in settings
    assert host.check_output("systemctl is-system-running") == "running"


def test_a_second_removal_has_nothing_to_do(host: Host) -> None:
    done = subprocess.run(
        ["ansible-playbook", "--inventory", INVENTORY, "--limit", name(host), PROJECT / "playbooks/remove.yml"],
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")},
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "changed=0 " in done.stdout, done.stdout
    assert f"The documents are still there, in {IMAGE}" in " ".join(done.stdout.split())
