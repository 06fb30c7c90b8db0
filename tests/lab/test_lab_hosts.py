# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab import hosts, places
from lab.hosts import Host
from lab.trouble import Trouble

SERVER = Host("schoolserver", "debian12", ("schoolservers",), "")
LAPTOP = Host("xo1", "xo1", ("laptops",), "schoolserver")
AT = {"schoolserver": "10.1.2.10", "xo1": "10.1.2.11"}


def scenario(directory: Path, text: str) -> list[Host]:
    (directory / "one").mkdir()
    (directory / "one" / "hosts.toml").write_text(text, encoding="utf-8")
    return hosts.scenario("one", directory)


def test_a_scenario_names_its_hosts(tmp_path: Path) -> None:
    text = (
        '[schoolserver]\ngroups=["schoolservers"]\n[xo1]\nimage="xo1"\ngroups=["laptops"]\nnameserver="schoolserver"\n'
    )
    assert scenario(tmp_path, text) == [SERVER, LAPTOP]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[a]\nimages="x"\n', r"\[a\] knows .*image.*, not images"),
        ('[a]\nnameserver="b"\n', r"\[a\] nameserver names no host"),
        ("[a\n", "not TOML"),
    ],
)
def test_a_misspelt_scenario_is_refused_by_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Trouble, match=rf"hosts\.toml: {said}"):
        scenario(tmp_path, text)


def test_an_unknown_scenario_is_answered_with_the_known_ones() -> None:
    with pytest.raises(Trouble, match=r"no scenario nowhere; there are: .*default"):
        hosts.scenario("nowhere")


@pytest.mark.parametrize("name", sorted(file.parent.name for file in places.MOLECULE.glob("*/molecule.yml")))
def test_every_scenario_of_the_project_says_which_hosts_it_wants(name: str) -> None:
    assert "schoolserver" in [host.name for host in hosts.scenario(name)]


def test_addresses_are_the_same_whenever_the_hosts_are() -> None:
    assert hosts.addresses([SERVER, LAPTOP], "10.1.2.0/24") == AT


def test_the_inventory_reaches_each_host_by_ssh_in_its_group() -> None:
    found = json.loads(hosts.inventory("lab", [SERVER, LAPTOP], AT))["all"]
    assert found["hosts"]["xo1"]["ansible_host"] == "10.1.2.11"
    assert found["hosts"]["xo1"]["ansible_user"] == "root"
    assert found["children"] == {"schoolservers": {"hosts": {"schoolserver": {}}}, "laptops": {"hosts": {"xo1": {}}}}


def test_the_ssh_configuration_names_each_host_and_keeps_host_keys_to_itself() -> None:
    text = hosts.ssh_config("lab", [SERVER, LAPTOP], AT)
    assert "Host xo1\n    HostName 10.1.2.11\n" in text
    assert f"UserKnownHostsFile {places.lab('lab')}/known_hosts" in text


def test_two_labs_share_no_name_and_no_path() -> None:
    assert hosts.container("lab", "xo1") != hosts.container("test", "xo1")
    assert places.lab("lab") != places.lab("test")
    assert places.sockets("lab") != places.sockets("test")
