# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders a role's template as Ansible does, without a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

PROJECT = Path(__file__).parents[2]
ROLES = PROJECT / "roles"
# A school server with two interfaces, the second of which is the school's.
FACTS = {
    "interfaces": ["lo", "eth0", "eth1"],
    "eth1": {"ipv4": {"address": "172.18.0.1", "netmask": "255.255.254.0"}},
}
SCHOOL = {"inventory_hostname": "schoolserver", "ansible_facts": FACTS, "xs_network_interface": "eth1"}


def variables(role: str, **settings: Any) -> dict[str, Any]:
    """Return the variables that `role` would have with `settings`: its defaults, the school's, its own."""
    loader = DataLoader()
    known: dict[str, Any] = {}
    for file in (
        PROJECT / "playbooks/group_vars/all.yml",
        ROLES / role / "defaults/main.yml",
        ROLES / role / "vars/main.yml",
    ):
        if file.exists():
            known.update(loader.load_from_file(str(file), trusted_as_template=True))
        if file.parent.name == "defaults":
            known.update(SCHOOL)
            known.update(settings)
    return known


def render(template: Path, **settings: Any) -> str:
    """Return the text of a role's `template`; a variable that nobody defines is an error."""
    templar = Templar(loader=DataLoader(), variables=variables(template.parts[-3], **settings))
    text = templar.template(trust_as_template(template.read_text(encoding="utf-8")))
    assert isinstance(text, str)
    return text


def evaluate(role: str, expression: str, **settings: Any) -> Any:
    """Return what a Jinja `expression` means inside `role`."""
    templar = Templar(loader=DataLoader(), variables=variables(role, **settings))
    return templar.template(trust_as_template("{{ " + expression + " }}"))
