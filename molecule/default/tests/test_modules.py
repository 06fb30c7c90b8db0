# SPDX-License-Identifier: GPL-3.0-or-later
"""The project's modules on a running school server, called as a playbook calls them."""

from __future__ import annotations

import base64
import json
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host

SCHOOL = Path(__file__).parents[1] / "vars/school.yml"
KEY = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32))).decode()
LAPTOP = {"serial": "CSN0000000A", "nick": "Asha", "uuid": "5dd1a5d0-7f2d-4c2a-9a5c-0a9d3c0b6a11", "pubkey": KEY}
TREE = Path("/library/users/CSN0000000A")
# What a school has after a summer: the middle one is what a keep of 90 days takes away.
SNAPSHOTS = ("2026-05-02T100000Z", "2026-05-03T100000Z", "2026-11-22T100000Z", "2026-11-23T100000Z")

Module = Callable[..., dict[str, Any]]


@pytest.fixture
def module(play: Callable[..., Any], tmp_path: Path) -> Module:
    """`module("xs_laptop", check=True, serial=…)` runs a module on the server from a playbook; returns its result."""

    def run(name: str, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
        playbook, result = tmp_path / "playbook.yml", tmp_path / "result.json"
        keep = {
            "delegate_to": "localhost", "check_mode": False, "connection": "local",
            "ansible.builtin.copy": {"dest": str(result), "content": "{{ result | to_json }}", "mode": "0600"},
        }  # fmt: skip
        tasks = [{name: arguments, "register": "result", "diff": True, "ignore_errors": True}, keep]
        plays = [{"hosts": "schoolservers", "gather_facts": False, "tasks": tasks}]
        playbook.write_text(json.dumps(plays), encoding="utf-8")
        done = play(playbook, *(["--check"] if check else []))
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        answer = json.loads(result.read_text(encoding="utf-8"))
        assert isinstance(answer, dict)
        return answer

    return run


def test_a_laptop_is_registered_as_check_mode_said_and_only_once(module: Module, host: Host) -> None:
    promised = module("xs_laptop", check=True, **LAPTOP)
    assert promised["changed"]
    assert not host.file(str(TREE)).exists
    done = module("xs_laptop", **LAPTOP)
    assert done["changed"]
    assert host.file(str(TREE)).mode == 0o550
    assert f"ssh-ed25519 {KEY}" in host.check_output("cat /etc/xs/keys/$(id -u CSN0000000A)")
    assert not module("xs_laptop", **LAPTOP)["changed"]


def test_a_listed_laptop_keeps_the_nick_that_its_child_gave_it(module: Module, host: Host, address: str) -> None:
    (listed,) = yaml.safe_load(SCHOOL.read_text(encoding="utf-8"))["xs_registration_laptops"]
    answer = xmlrpc.client.ServerProxy(f"http://{address}:8080/").register(
        listed["serial"], "Binod", listed["uuid"], listed["pubkey"]
    )
    assert isinstance(answer, dict)
    assert answer["success"] == "OK", answer
    assert not module("xs_laptop", **listed)["changed"]
    assert f"{listed['serial']}  {listed['serial']}  Binod" in host.check_output("xs laptop list")


def test_a_laptop_that_cannot_be_one_is_refused(module: Module, host: Host) -> None:
    answer = module("xs_laptop", **{**LAPTOP, "serial": "../../etc/x"})
    assert answer["failed"]
    assert not host.file("/library/etc").exists


def test_rotation_removes_what_check_mode_said_and_never_a_pinned_one(module: Module, host: Host) -> None:
    module("xs_laptop", **LAPTOP)
    for stamp in SNAPSHOTS:
        host.check_output(f"btrfs subvolume snapshot -r {TREE}/datastore-current {TREE}/datastore/{stamp}")
    pins = json.dumps({SNAPSHOTS[0]: {"why": ["a person's"], "documents": 0, "since": SNAPSHOTS[0]}})
    host.check_output("echo %s >%s/pins.json", pins, str(TREE))
    promised = module("xs_rotation", check=True, keep_all_days=90)
    assert promised["removed"] == [{"tree": TREE.name, "stamp": SNAPSHOTS[1], "why": "not the first of its month"}]
    assert host.check_output(f"ls {TREE}/datastore").split() == list(SNAPSHOTS)
    done = module("xs_rotation", keep_all_days=90)
    assert done["removed"] == promised["removed"]
    assert done["diff"] == promised["diff"]
    assert host.check_output(f"ls {TREE}/datastore").split() == [SNAPSHOTS[0], *SNAPSHOTS[2:]]
    assert not module("xs_rotation", keep_all_days=90)["changed"]


def test_the_timer_s_service_does_the_same(host: Host) -> None:
    host.check_output(f"btrfs subvolume snapshot -r {TREE}/datastore-current {TREE}/datastore/{SNAPSHOTS[1]}")
    host.check_output("systemctl start xs-rotation.service")
    assert not host.file(f"{TREE}/datastore/{SNAPSHOTS[1]}").exists
    assert host.file(f"{TREE}/datastore/{SNAPSHOTS[0]}").exists
