# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of laptops, from what school servers answer; asked over ssh it is in molecule/identity."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "inventory/laptops.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("laptops_inventory", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def laptop(name: str, **said: Any) -> dict[str, Any]:
    return {
        "tree": name, "names": [name], "login": name, "writes": name, "nick": "Jim", "class": "", "state": "in use",
        "address": "172.18.0.77", "client": "", "seen": "2026-11-25T10:14:58Z", "latest": None, **said,
    }  # fmt: skip


def test_laptops_are_grouped_by_school_and_class(script: ModuleType) -> None:
    found = script.inventory_of(
        {"north-school": [laptop("SHC00000011", **{"class": "4 B"})], "south": [laptop("SHC00000022", address="")]}
    )
    assert found["laptops"]["hosts"] == ["SHC00000011", "SHC00000022"]
    assert found["school_north_school"]["hosts"] == found["class_4_B"]["hosts"] == ["SHC00000011"]
    assert found["never_seen"]["hosts"] == ["SHC00000022"]
    variables = found["_meta"]["hostvars"]
    assert variables["SHC00000011"]["ansible_host"] == "172.18.0.77"
    assert "ansible_host" not in variables["SHC00000022"]


def test_who_was_seen_last_stands_first(script: ModuleType) -> None:
    seen = {"A": "2026-11-25T08:00:00Z", "B": None, "C": "2026-11-27T08:00:00Z", "D": "2026-11-27T09:00:00Z", "E": ""}
    found = script.inventory_of({"school": [laptop(name, seen=when) for name, when in seen.items()]})
    assert found["laptops"]["hosts"] == ["D", "C", "A", "B", "E"]


def test_what_is_no_laptop_of_its_own_is_no_host(script: ModuleType) -> None:
    further = laptop("SHC00000011.2", names=[], login="SHC00000011")
    found = script.inventory_of({"school": [laptop("SHC00000011", state="retired"), further]})
    assert found["laptops"]["hosts"] == found["retired"]["hosts"] == ["SHC00000011"]


def test_a_laptop_that_waits_for_a_person_is_a_host_that_playbooks_can_leave_alone(script: ModuleType) -> None:
    waiting = laptop("SHC00000011.2", names=[], login="SHC00000011", state="waiting")
    found = script.inventory_of({"school": [laptop("SHC00000011"), waiting]})
    assert found["laptops"]["hosts"] == ["SHC00000011", "SHC00000011.2"]
    assert found["waiting"]["hosts"] == ["SHC00000011.2"]


def test_a_laptop_cannot_make_ansible_run_its_nick(script: ModuleType) -> None:
    hostile = "{{ lookup('pipe', 'id') }}{% raw %}"
    found = script.inventory_of({"school": [laptop("SHC00000011", nick=hostile, client=hostile)]})
    assert "{" not in str(found["_meta"]["hostvars"]["SHC00000011"]["xs_nick"])
    assert "{" not in str(found["_meta"]["hostvars"]["SHC00000011"]["xs_client"])


def test_the_only_school_need_not_be_named(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "example").mkdir()
    with pytest.raises(SystemExit, match="copy inventory/example"):
        script.school(tmp_path, None)
    (tmp_path / "north").mkdir()
    assert script.school(tmp_path, None) == tmp_path / "north"
    (tmp_path / "south").mkdir()
    with pytest.raises(SystemExit, match="XS_SCHOOL=inventory/north, XS_SCHOOL=inventory/south"):
        script.school(tmp_path, None)
    assert script.school(tmp_path, "inventory/south") == Path("inventory/south")
