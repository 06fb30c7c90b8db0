# SPDX-License-Identifier: GPL-3.0-or-later
"""What sshd, the name service and the front let a registered laptop do."""

from __future__ import annotations

import socket
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

Get = Callable[..., Any]


def sshd(host: Host, user: str) -> dict[str, str]:
    """Return the settings that sshd would use for a login of `user`."""
    lines = host.check_output(f"sshd -T -C user={user},host=laptop,addr=172.18.0.77").splitlines()
    return dict(line.split(" ", 1) for line in lines if " " in line)


def refused(ssh: list[str], *options: str) -> str:
    """Try to log in where that must fail; return the client's last word."""
    done = subprocess.run([*ssh, *options, "true"], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 255, done
    return done.stderr.strip().splitlines()[-1]


def test_a_laptop_that_registers_can_log_in_by_name(host: Host, learner: str) -> None:
    user = host.user(learner)
    assert 20000 <= user.uid <= 59999
    assert user.gid == user.uid
    assert user.shell == "/usr/lib/schoolserver/gate"
    assert "xs-learners" in user.groups


def test_login_names_of_laptops_are_not_in_the_machines_own_files(host: Host, learner: str) -> None:
    assert learner not in host.file("/etc/passwd").content_string
    assert learner not in host.file("/etc/group").content_string


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("authorizedkeysfile", "/etc/xs/keys/%U"),
        ("authenticationmethods", "publickey"),
        ("passwordauthentication", "no"),
        ("kbdinteractiveauthentication", "no"),
        ("disableforwarding", "yes"),
        ("permittty", "no"),
        ("permituserrc", "no"),
        ("permittunnel", "no"),
        ("maxsessions", "1"),
        ("forcecommand", "none"),
        ("chrootdirectory", "none"),
        ("clientaliveinterval", "30"),
        ("clientalivecountmax", "4"),
    ],
)
def test_sshd_lets_a_laptop_do_nothing_but_its_key_lines_command(
    host: Host, learner: str, setting: str, value: str
) -> None:
    assert sshd(host, learner)[setting] == value


def test_old_laptops_keys_are_accepted_from_laptops_only_where_the_host_can(
    host: Host, learner: str, takes_dsa: bool
) -> None:
    accepted = sshd(host, learner)["pubkeyacceptedalgorithms"].split(",")
    assert ("ssh-dss" in accepted) is takes_dsa
    assert ("ssh-rsa" in accepted) is takes_dsa
    technician = sshd(host, "root")
    assert not {"ssh-dss", "ssh-rsa"} & set(technician["pubkeyacceptedalgorithms"].split(","))
    assert technician["authorizedkeysfile"] == ".ssh/authorized_keys .ssh/authorized_keys2"


def test_the_parts_are_told_whether_a_dsa_key_can_log_in(host: Host, takes_dsa: bool) -> None:
    assert tomllib.loads(host.file("/etc/xs/accounts.toml").content_string)["dsa"] is takes_dsa
    assert ("ssh-dss" in host.check_output("ssh -Q key").split()) is takes_dsa


def test_old_laptops_find_a_host_key_and_a_key_exchange_that_they_know(host: Host, takes_dsa: bool) -> None:
    settings = sshd(host, "root")
    assert ("ssh-rsa" in settings["hostkeyalgorithms"].split(",")) is takes_dsa
    sha1 = {"diffie-hellman-group14-sha1", "diffie-hellman-group-exchange-sha1"}
    assert sha1 & set(settings["kexalgorithms"].split(",")) == (sha1 if takes_dsa else set())


@pytest.mark.parametrize("exchange", ["diffie-hellman-group14-sha1", "diffie-hellman-group-exchange-sha1"])
def test_an_old_laptops_connection_comes_as_far_as_its_key(
    address: str, learner: str, ssh: list[str], takes_dsa: bool, exchange: str
) -> None:
    old = ("-o", f"KexAlgorithms={exchange}", "-o", "HostKeyAlgorithms=ssh-rsa", "-o", "PubkeyAuthentication=no")
    said = refused(ssh, *old, f"{learner}@{address}")
    assert ("Permission denied (publickey)" if takes_dsa else "no matching key exchange method found") in said


def test_one_laptops_wrong_key_does_not_close_the_door_on_its_neighbours(
    host: Host, address: str, learner: str, ssh: list[str], tmp_path: Path
) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "wrong"], check=True)
    for _ in range(6):
        assert "Permission denied" in refused(ssh, "-i", str(tmp_path / "wrong"), f"{learner}@{address}")
    with socket.create_connection((address, 22), timeout=5) as neighbour:
        assert neighbour.recv(7) == b"SSH-2.0"
    settings = sshd(host, "root")
    # Debian 12's sshd knows no penalties, so there is nothing to exempt anybody from.
    assert ("persourcepenalties" in settings) is (host.system_info.release != "12")
    if "persourcepenalties" in settings:
        assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} <= set(
            settings["persourcepenaltyexemptlist"].split(",")
        )


def test_a_class_that_is_switched_on_together_is_not_dropped(host: Host) -> None:
    assert sshd(host, "root")["maxstartups"] == "200:30:400"


def test_the_technicians_key_still_opens_the_machine(host: Host) -> None:
    assert host.check_output("id -un") == "root"


def test_a_stranger_gets_no_permission(get: Get) -> None:
    assert get("/backup/1/available/SHC99999999").status == 403


def test_a_registered_laptop_gets_permission(get: Get, learner: str) -> None:
    page = get(f"/backup/1/available/{learner}")
    assert (page.status, page.body) == (200, b"")


def test_a_permission_part_that_is_down_means_later_and_not_never(host: Host, get: Get, learner: str) -> None:
    host.check_output("systemctl stop xs-permission.socket xs-place.socket xs-permission.service")
    try:
        page = get(f"/backup/1/available/{learner}")
    finally:
        host.check_output("systemctl start xs-permission.socket xs-place.socket")
    assert page.status == 503
    assert page.headers["Retry-After"] == "120"
    assert get(f"/backup/1/available/{learner}").status == 200
