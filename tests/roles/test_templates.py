# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles write, rendered without a host; an undefined variable is an error."""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from rendering import ROLES, render
from schoolserver import settings

TEMPLATES = sorted(ROLES.glob("*/templates/*.j2"))
NETWORK = ROLES / "xs_network/templates"
ACCOUNTS = ROLES / "xs_accounts/templates"
MOUNT = ROLES / "xs_library/templates/library.mount.j2"
# What OpenSSH says of itself in Debian 12 and 13.
BOOKWORM = {
    "__xs_accounts_keys_known": {"rc": 0, "stdout_lines": ["ssh-ed25519", "ssh-dss", "ssh-rsa"]},
    "__xs_accounts_sshd": {"rc": 0, "stdout_lines": ["port 22", "persourcemaxstartups none"]},
}
TRIXIE = {
    "__xs_accounts_keys_known": {"rc": 0, "stdout_lines": ["ssh-ed25519", "ssh-rsa"]},
    "__xs_accounts_sshd": {"rc": 0, "stdout_lines": ["persourcepenalties crash:90 authfail:5 noauth:1"]},
}
# What tasks have registered by the time the mount unit is written.
IMAGE = {"__xs_library_stat": {"stat": {"exists": False}}, "__xs_library_probe": {}}
HOST = {**IMAGE, **BOOKWORM}
DISK = {
    "xs_library_device": "/dev/disk/by-id/ata-school",
    "__xs_library_stat": {"stat": {"exists": True}},
    "__xs_library_probe": {
        "rc": 0,
        "stdout": "DEVNAME=/dev/sdb\nLABEL=xs-library\nUUID=402427b5-6432-4ae2\nUUID_SUB=aa1f5c60-1105\nTYPE=btrfs",
    },
}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: f"{template.parts[-3]}-{template.name}")
def test_every_file_says_who_wrote_it_and_where_to_change_it(template: Path) -> None:
    header = "# Managed by Ansible: change the inventory and run playbooks/site.yml, not this file."
    assert header in render(template, **HOST).splitlines()[:4]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: f"{template.parts[-3]}-{template.name}")
def test_every_file_is_the_same_tomorrow(template: Path) -> None:
    # A date or a random word in a template would be a change in every run.
    assert render(template, **HOST) == render(template, **HOST)
    assert not re.search(r"202\d-\d\d-\d\d", render(template, **HOST))


@pytest.mark.parametrize("template", sorted(ROLES.glob("*/templates/*.toml.j2")), ids=lambda template: template.name)
def test_the_settings_are_such_as_the_parts_read(template: Path) -> None:
    part = template.name.removesuffix(".toml.j2")
    settings.parse(part, render(template, **HOST), template.name)


def test_without_a_change_the_settings_mean_what_the_parts_default_to() -> None:
    for template in ROLES.glob("*/templates/*.toml.j2"):
        part = template.name.removesuffix(".toml.j2")
        assert settings.parse(part, render(template, **HOST), template.name) == settings.PARTS[part]()


def test_a_changed_setting_reaches_its_part() -> None:
    text = render(ROLES / "xs_snapshots/templates/snapshots.toml.j2", xs_snapshots_keep_all_days=14)
    assert tomllib.loads(text)["keep_all_days"] == 14


def test_the_library_lies_in_an_image_where_no_disk_is_named() -> None:
    text = render(MOUNT, **IMAGE)
    assert "\nWhat=/var/lib/xs-library.img\n" in text
    assert "\nOptions=loop,nodiscard,compress=zstd,noacl,noatime,nosuid,nodev,noexec\n" in text


def test_a_disk_is_mounted_by_its_uuid_because_its_name_may_be_anothers_tomorrow() -> None:
    text = render(MOUNT, **DISK)
    assert "\nWhat=/dev/disk/by-uuid/402427b5-6432-4ae2\n" in text
    assert "\nOptions=compress=zstd,noacl,noatime,nosuid,nodev,noexec\n" in text


def test_check_mode_shows_a_disk_that_is_not_made_yet() -> None:
    empty = {**DISK, "__xs_library_probe": {"rc": 2, "stdout": ""}}
    assert "\nWhat=/dev/disk/by-uuid/not-made-yet\n" in render(MOUNT, **empty)


def test_dnsmasq_hands_out_no_addresses_unless_told_to() -> None:
    assert "dhcp" not in render(NETWORK / "dnsmasq.conf.j2")


def test_dnsmasq_hands_out_the_range_that_it_is_told() -> None:
    text = render(NETWORK / "dnsmasq.conf.j2", xs_network_dhcp_range="172.18.0.100,172.18.0.250")
    assert "\ndhcp-range=172.18.0.100,172.18.0.250,12h\n" in text


def test_dnsmasq_stays_on_the_schools_interface() -> None:
    lines = render(NETWORK / "dnsmasq.conf.j2").splitlines()
    assert {"interface=eth1", "except-interface=lo", "bind-dynamic"} <= set(lines)


def test_the_firewall_judges_nothing_but_the_schools_interface() -> None:
    rules = [line.strip() for line in render(NETWORK / "firewall.nft.j2").splitlines()]
    verdicts = rules[rules.index("chain input {") + 2 :]
    assert next(rule for rule in verdicts if not rule.startswith("#")) == 'iifname != "eth1" accept'


def test_the_firewall_never_closes_the_ports_where_sshd_listens() -> None:
    said = ["port 22", "listenaddress [::]:2022", "listenaddress 172.18.0.1:2023", "gatewayports no"]
    text = render(NETWORK / "firewall.nft.j2", __xs_network_sshd={"stdout_lines": said})
    assert "tcp dport { 22, 53, 80, 2022, 2023, 8080 } accept" in text


def test_the_firewall_never_closes_the_port_that_the_inventory_names() -> None:
    assert "tcp dport { 22, 53, 80, 2222, 8080 } accept" in render(NETWORK / "firewall.nft.j2", ansible_port=2222)


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed here; the scenario's hosts check it")
def test_nft_understands_the_firewall(tmp_path: Path) -> None:
    file = tmp_path / "firewall.nft"
    file.write_text(render(NETWORK / "firewall.nft.j2"), encoding="utf-8")
    subprocess.run(["nft", "--check", "--file", file], check=True)


def test_the_front_answers_to_the_name_and_the_address() -> None:
    assert "server_name schoolserver schoolserver.* 172.18.0.1;" in render(NETWORK / "nginx.conf.j2")


def test_old_keys_are_taken_only_inside_the_laptops_match() -> None:
    before, _, inside = render(ACCOUNTS / "sshd.conf.j2", **BOOKWORM).partition("Match Group xs-learners")
    assert "PubkeyAcceptedAlgorithms" not in before
    assert "PubkeyAcceptedAlgorithms +ssh-dss,ssh-rsa\n" in inside


@pytest.mark.parametrize("given", [{**BOOKWORM, "xs_accounts_old_laptops": False}, TRIXIE], ids=["off", "no DSA"])
def test_without_old_laptops_nothing_old_is_taken_at_all(given: dict[str, object]) -> None:
    text = render(ACCOUNTS / "sshd.conf.j2", **given)
    assert not re.search("ssh-dss|ssh-rsa|sha1", text)
    assert tomllib.loads(render(ACCOUNTS / "accounts.toml.j2", **given))["dsa"] is False


def test_an_openssh_without_dsa_is_never_told_of_it_whatever_the_school_says() -> None:
    given = {**TRIXIE, "xs_accounts_old_laptops": True}
    text = render(ACCOUNTS / "sshd.conf.j2", **given)
    assert "ssh-dss" not in text
    assert "\nHostKeyAlgorithms +ssh-rsa\nKexAlgorithms +diffie-hellman-group14-sha1," in text
    assert "PubkeyAcceptedAlgorithms +ssh-rsa\n" in text
    assert tomllib.loads(render(ACCOUNTS / "accounts.toml.j2", **given))["dsa"] is False


def test_only_an_sshd_with_penalties_is_told_who_is_exempt_from_them() -> None:
    assert "PerSourcePenalty" not in render(ACCOUNTS / "sshd.conf.j2", **BOOKWORM)
    (line,) = re.findall("^PerSourcePenaltyExemptList (.*)$", render(ACCOUNTS / "sshd.conf.j2", **TRIXIE), re.MULTILINE)
    assert all(ipaddress.ip_network(one).is_private for one in line.split(","))
    assert "192.168.0.0/16" in line


def test_what_sshd_refuses_inside_match_stands_before_it() -> None:
    given = {**TRIXIE, "xs_accounts_old_laptops": True}
    before, _, inside = render(ACCOUNTS / "sshd.conf.j2", **given).partition("Match Group xs-learners")
    ours = {"MaxStartups", "PerSourceMaxStartups", "PerSourceNetBlockSize", "LoginGraceTime"}
    everywhere = {"HostKey", "HostKeyAlgorithms", "KexAlgorithms", "PerSourcePenaltyExemptList"} | ours
    assert everywhere == set(re.findall(r"^(\w+)", before, re.MULTILINE))
    assert not everywhere & set(re.findall(r"^\s*(\w+)", inside, re.MULTILINE))


def test_one_address_cannot_take_all_that_sshd_answers_before_a_login() -> None:
    text = render(ACCOUNTS / "sshd.conf.j2", **BOOKWORM)
    most, one = (re.findall(rf"^{key} (\d+)", text, re.MULTILINE) for key in ("MaxStartups", "PerSourceMaxStartups"))
    assert int(one[0]) * 2 <= int(most[0])
