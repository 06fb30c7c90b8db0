# SPDX-License-Identifier: GPL-3.0-or-later
"""The school's laptops as an inventory: Ansible asks the school server, and playbooks find who was seen."""

from __future__ import annotations

import json
import os
import subprocess

import technician
from laptop import Laptops
from server import Server


def ansible(program: str, *arguments: str) -> str:
    """Return what `program` of Ansible's says about the inventory of the school's laptops."""
    done = subprocess.run(
        [program, "--inventory", "inventory/laptops.py", *arguments],
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(technician.PROJECT / "ansible.cfg"),
            "XS_SCHOOL": str(technician.INVENTORY),
        },
        cwd=technician.PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout


def test_ansible_finds_each_laptop_by_school_class_and_state(laptops: Laptops, server: Server) -> None:
    jim, stored, new = (laptops(nick).settled(1) for nick in ("Jim", "Ana", "Eve"))
    technician.xs_laptop(**{"serial": jim.serial, "class": "3A"})
    technician.xs_laptop(serial=stored.serial, state="retired")
    waiting = laptops("Eve", serial=new.serial).settled(1)
    listed = json.loads(ansible("ansible-inventory", "--list"))
    groups = {
        serial: {group for group, content in listed.items() if serial in content.get("hosts", [])}
        for serial in (jim.serial, stored.serial, new.serial)
    }
    assert {"laptops", "school_schoolserver", "class_3A"} <= groups[jim.serial]
    assert "retired" in groups[stored.serial]
    assert "waiting" not in groups[new.serial]
    assert f"{waiting.serial}.2" in listed["waiting"]["hosts"]
    about = listed["_meta"]["hostvars"][jim.serial]
    assert (about["xs_nick"], about["xs_tree"], about["ansible_host"]) == ("Jim", jim.serial, jim.address)
    assert f"--{jim.serial}" in ansible("ansible-inventory", "--graph")


def test_a_nick_that_is_a_template_is_only_a_nick_to_a_playbook(laptops: Laptops) -> None:
    hostile = laptops("{{ lookup('pipe', 'id') }}").settled(1)
    said = ansible("ansible", hostile.serial, "-m", "debug", "-a", "msg={{ xs_nick }}")
    assert "uid=" not in said
    assert "lookup('pipe', 'id')" in said
