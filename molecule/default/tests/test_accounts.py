# SPDX-License-Identifier: GPL-3.0-or-later
"""What sshd, the name service and the front let a registered laptop do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

Get = Callable[..., Any]


def sshd(host: Host, user: str) -> dict[str, str]:
    """Return the settings that sshd would use for a login of `user`."""
    lines = host.check_output(f"sshd -T -C user={user},host=laptop,addr=172.18.0.77").splitlines()
    return dict(line.split(" ", 1) for line in lines if " " in line)


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


def test_old_laptops_keys_are_accepted_from_laptops_only(host: Host, learner: str) -> None:
    assert "ssh-dss" in sshd(host, learner)["pubkeyacceptedalgorithms"].split(",")
    technician = sshd(host, "root")
    assert "ssh-dss" not in technician["pubkeyacceptedalgorithms"].split(",")
    assert technician["authorizedkeysfile"] == ".ssh/authorized_keys .ssh/authorized_keys2"


def test_old_laptops_find_a_host_key_that_they_know(host: Host) -> None:
    assert "ssh-rsa" in sshd(host, "root")["hostkeyalgorithms"].split(",")


def test_a_class_that_is_switched_on_together_is_not_dropped(host: Host) -> None:
    assert sshd(host, "root")["maxstartups"] == "100:30:400"


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
