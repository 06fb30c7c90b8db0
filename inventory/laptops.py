#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registered laptops of a school, as an inventory that Ansible runs: each school server is asked who they are.

    ansible-inventory -i inventory/laptops.py --graph

Where there are several schools in inventory/, name one: XS_SCHOOL=inventory/myschool. The groups are laptops,
school_<host>, class_<class>, and waiting, retired and never_seen for those that playbooks should leave alone. Who was
seen last stands first: where a playbook goes out in waves, the first ones are laptops that are here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
Laptop = dict[str, Any]


def school(directory: Path, chosen: str | None) -> Path:
    """Return the inventory of the school to ask: `chosen`, or the only one in `directory`; raise SystemExit."""
    if chosen:
        return Path(chosen)
    found = sorted(one for one in directory.iterdir() if one.is_dir() and one.name not in ("example", "__pycache__"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"XS_SCHOOL=inventory/{one.name}" for one in found) or "there is none yet: copy inventory/example"
    sys.exit(f"laptops.py: which school? Put in front: {names}")


def ask(inventory: Path) -> dict[str, list[Laptop]]:
    """Return {school server: its laptops} of every server in `inventory` that answers."""
    with tempfile.TemporaryDirectory() as answers:
        # Ansible itself, so that whatever the inventory says of users, keys and jump hosts holds here as well.
        command = ["ansible", "schoolservers", "--inventory", str(inventory), "--module-path", str(PROJECT / "library"),
                   "--module-name", "xs_laptop_info", "--tree", answers]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
        found: dict[str, list[Laptop]] = {}
        for file in sorted(Path(answers).iterdir()):
            answer = json.loads(file.read_text(encoding="utf-8"))
            if "laptops" in answer:
                found[file.name] = answer["laptops"]
            else:
                print(f"laptops.py: {file.name} is left out: {answer.get('msg', 'no answer')}", file=sys.stderr)
    if not found:
        print(f"laptops.py: no school server answered: {done.stderr.strip()[-300:]}", file=sys.stderr)
    return found


def inventory_of(schools: dict[str, list[Laptop]]) -> dict[str, Any]:
    """Return Ansible's inventory of the laptops of `schools`: each that has a login name, or waits for a person."""
    hosts: dict[str, dict[str, str]] = {}
    # Named also where they are empty, so that a playbook can leave them out without a warning.
    groups: dict[str, set[str]] = {"laptops": set(), "waiting": set(), "retired": set()}
    for server, laptops in schools.items():
        for laptop in laptops:
            # A laptop that waits has claimed another's name, and is known by its tree's.
            if not laptop["names"] and laptop["state"] != "waiting":
                continue
            name = laptop["login"] if laptop["names"] else laptop["tree"]
            hosts[name] = {
                "xs_school": server, "xs_tree": laptop["writes"], "xs_state": laptop["state"],
                "xs_class": plain(laptop["class"]), "xs_nick": plain(laptop["nick"]),
                "xs_client": plain(laptop["client"]), "xs_last_seen": laptop["seen"],
                "xs_last_backup": laptop["latest"] or "",
                **({"ansible_host": laptop["address"]} if laptop["address"] else {}),
            }  # fmt: skip
            for group in _groups(server, laptop):
                groups.setdefault(group, set()).add(name)
    order = sorted(sorted(hosts), key=lambda name: hosts[name]["xs_last_seen"] or "", reverse=True)
    listed: dict[str, Any] = {
        group: {"hosts": [name for name in order if name in names]} for group, names in groups.items()
    }
    return {**listed, "_meta": {"hostvars": hosts}}


def plain(text: str) -> str:
    """Return `text`, which a laptop may have chosen, without what Ansible would run as a template."""
    return re.sub(r"[{}]", "?", text)


def _groups(server: str, laptop: Laptop) -> list[str]:
    words = [f"school {server}", *([f"class {laptop['class']}"] if laptop["class"] else [])]
    states = [laptop["state"]] if laptop["state"] in ("waiting", "retired") else []
    unseen = [] if laptop["address"] else ["never seen"]
    return ["laptops", *(re.sub(r"\W", "_", word) for word in (*words, *states, *unseen))]


def main() -> None:
    """Answer Ansible, which asks with --list; every host's variables are in that answer."""
    if sys.argv[1:2] == ["--host"]:
        print("{}")
        return
    chosen = school(PROJECT / "inventory", os.environ.get("XS_SCHOOL"))
    print(json.dumps(inventory_of(ask(chosen)), indent=1))


if __name__ == "__main__":
    main()
