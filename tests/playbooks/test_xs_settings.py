# SPDX-License-Identifier: GPL-3.0-or-later
"""What site.yml says of a school's settings before it changes anything."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

PROJECT = Path(__file__).parents[2]
PLUGIN = PROJECT / "playbooks/filter_plugins/xs_settings.py"
ROLES = sorted(role.name for role in (PROJECT / "roles").glob("x[so]_*"))


def load() -> ModuleType:
    """Return the filter plugin, which lies where Ansible looks for it and not where Python does."""
    specification = importlib.util.spec_from_file_location("xs_settings", PLUGIN)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


settings = load()
LIBRARY: dict[str, Any] = {
    "xs_library_device": {"type": "str", "default": "", "description": "The disk."},
    "xs_library_image_gib": {"type": "int", "default": 50, "description": ["The size in GiB.", "More."]},
}
NETWORK: dict[str, Any] = {
    "xs_network_interface": {
        "type": "str",
        "required": True,
        "description": "The interface, as C(ip -brief address) names it. It needs an address.",
    },
    "xs_network_laptops": {
        "type": "list",
        "elements": "dict",
        "description": "Some.",
        "options": {"serial": {"type": "str", "required": True}},
    },
}
GOOD = {"xs_network_interface": "eth1"}


def problems(**changed: Any) -> list[str]:
    lines: list[str] = settings.problems({**GOOD, **changed}, [LIBRARY, NETWORK])
    return lines


def test_right_settings_are_no_problem() -> None:
    assert problems(xs_library_image_gib=200, xs_library_device="/dev/sdb") == []


def test_a_misspelt_setting_is_named_with_what_was_meant() -> None:
    assert problems(xs_libary_device="/dev/sdb") == [
        "xs_libary_device is not a setting; did you mean xs_library_device?"
    ]


def test_a_setting_like_no_other_is_named_as_well() -> None:
    assert problems(xo_coffee="black") == ["xo_coffee is not a setting; take it out of the inventory."]


def test_a_setting_of_another_hosts_role_is_known_and_not_asked_for() -> None:
    assert settings.problems({"xs_library_device": "/dev/sdb"}, [LIBRARY], [NETWORK]) == []
    assert settings.problems({"xs_network_interface": "eth1"}, [LIBRARY], [NETWORK]) == []
    assert settings.problems({"xs_network_interfaec": "eth1"}, [LIBRARY], [NETWORK]) == [
        "xs_network_interfaec is not a setting; did you mean xs_network_interface?"
    ]


def test_a_missing_setting_is_named_with_what_it_is_for() -> None:
    assert settings.problems({}, [LIBRARY, NETWORK]) == [
        "xs_network_interface is not set. Add it to the inventory: The interface, as ip -brief address names it."
    ]


def test_a_setting_of_the_wrong_type_is_named() -> None:
    (line,) = problems(xs_library_image_gib="plenty")
    assert line.startswith("xs_library_image_gib: ")
    assert "plenty" in line


def test_what_is_missing_inside_a_list_is_named() -> None:
    said = problems(xs_network_laptops=[{"nick": "Jim"}])
    assert all(line.startswith("xs_network_laptops: ") for line in said)
    assert any("missing required arguments: serial" in line for line in said)


def test_all_problems_are_told_at_once() -> None:
    said = settings.problems({"xs_libary_device": "x", "xs_library_image_gib": "y"}, [LIBRARY, NETWORK])
    assert len(said) == 3


@given(st.dictionaries(st.text(), st.one_of(st.none(), st.text(), st.integers(), st.booleans())))
def test_whatever_an_inventory_holds_each_unknown_name_gets_one_line(inventory: dict[str, Any]) -> None:
    known = {**LIBRARY, **NETWORK}
    said = settings.problems(inventory, [LIBRARY, NETWORK])
    assert sum(" is not a setting; " in line for line in said) == len(inventory.keys() - known.keys())


@pytest.mark.parametrize("given_range", ["172.18.0.100,172.18.0.250", "172.18.0.2, 172.18.0.2"])
def test_a_range_on_the_schools_network_can_be_handed_out(given_range: str) -> None:
    assert settings.dhcp_problem(given_range, "172.18.0.1", "255.255.254.0") == ""


@pytest.mark.parametrize(
    ("given_range", "said"),
    [
        ("172.18.0.100-172.18.0.250", "with a comma between them"),
        ("172.18.0.100", "with a comma between them"),
        ("172.18.0.100,172.18.0.300", "with a comma between them"),
        ("192.168.1.100,192.168.1.250", "lies outside 172.18.0.0/23"),
        ("172.18.0.100,172.18.2.1", "lies outside 172.18.0.0/23"),
        ("172.18.0.250,172.18.0.100", "172.18.0.250 comes after 172.18.0.100"),
        ("172.18.0.1,172.18.0.100", "contains 172.18.0.1, the server's own address"),
    ],
)
def test_a_range_that_cannot_be_handed_out_is_refused(given_range: str, said: str) -> None:
    assert said in settings.dhcp_problem(given_range, "172.18.0.1", "255.255.254.0")


def off(*roles: str) -> list[str]:
    lines: list[str] = settings.switch_problems({role: role not in roles for role in ROLES})
    return lines


def test_what_the_others_need_cannot_be_switched_off() -> None:
    said = off("xs_library", "xs_journal", "xs_network")
    assert len(said) == 2
    assert said[0].startswith("xs_library_enabled: the other parts need xs_library, so leave it on; playbooks/remove")
    assert off(*settings.GROUND) == off(*ROLES)


def test_all_the_others_can_be_switched_off() -> None:
    assert off(*(role for role in ROLES if role not in settings.GROUND)) == []


@pytest.mark.parametrize("role", ROLES)
def test_a_role_needs_none_but_those_that_cannot_be_switched_off(role: str) -> None:
    specification = yaml.safe_load((PROJECT / "roles" / role / "meta/argument_specs.yml").read_text(encoding="utf-8"))
    about = " ".join(specification["argument_specs"]["main"].get("description", []))
    needed = set(re.findall(r"xs_\w+", about.partition("Needs the role")[2]))
    assert needed <= set(settings.GROUND)


LAPTOP = {
    "serial": "SHC12345678",
    "uuid": "5dd1a5d0-7f2d-4c2a-9a5c-0a9d3c0b6a11",
    "pubkey": "AAAAC3NzaC1lZDI1NTE5AAAAIEBBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5f",
}


def test_a_laptop_that_can_register_is_no_problem() -> None:
    assert settings.laptop_problems([LAPTOP, {**LAPTOP, "nick": "Jim"}]) == []


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("serial", "SHF00000000", "SHF00000000, serial: SHF00000000 is what every board without a serial says"),
        ("serial", "../../etc", "../../etc, serial: the serial must be three capital letters"),
        ("uuid", "12345", "SHC12345678, uuid: the uuid must look like"),
        ("pubkey", "AAAA", "SHC12345678, pubkey: the public key is damaged"),
    ],
)
def test_a_laptop_that_would_be_refused_is_named_with_the_reason(field: str, value: str, said: str) -> None:
    (line,) = settings.laptop_problems([LAPTOP, {**LAPTOP, field: value}])
    assert line.startswith(f"xs_registration_laptops: {said}")


def test_a_serial_that_no_laptop_can_have_is_named_with_its_setting() -> None:
    (line,) = settings.serial_problems(["SHF00000000"], "xo_client_serial")
    assert line.startswith("xo_client_serial: SHF00000000: SHF00000000 is what every board")
    assert settings.serial_problems(["SHC00000011"]) == []
