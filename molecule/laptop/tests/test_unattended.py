# SPDX-License-Identifier: GPL-3.0-or-later
"""What the laptop's package does with nobody at the laptop: Debian 13, Sugar 0.121, no screen.

The steps build on each other, in this order.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from sugar_laptop import Laptop

PROFILE = "/home/olpc/.sugar/default"
# The turn of this laptop comes at once; all else is as the timer has it.
RUN = "python3 -c 'from xo_client import backoff, cli_backup; backoff.SPREAD = 0; cli_backup.main([\"run\"])'"
STRANGER = "xs-school-server ecdsa-sha2-nistp256"


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """What a step tells the next ones."""
    return {}


def stamps(server: Host, login: str) -> list[str]:
    """Return the laptop's snapshots, oldest first."""
    return [str(stamp) for stamp in server.check_output(f"ls /library/users/{login}/datastore").split()]


def why_not(laptop: Laptop) -> str:
    """Return why no backup would start now, as one word."""
    return str(json.loads(laptop.as_child("xo-backup why-not --json"))["reason"])


def test_1_the_first_contact_registers_a_fresh_laptop(
    pc13: Laptop, server: Host, package: Path, known: dict[str, Any]
) -> None:
    """A fresh laptop that meets the school server registers by itself, with a key of today and its own serial."""
    pc13.host.check_output("mkdir -p /etc/xo-client && echo XOL00000013 > /etc/xo-client/serial")
    pc13.host.check_output("rm -rf /run/xo-client; systemctl stop xo-serial.service")
    pc13.install(package)
    pc13.reflash()
    # What Sugar's first start leaves, but for the key, which this OpenSSH cannot make.
    pc13.as_child(f"mkdir -p {PROFILE} && gsettings set org.sugarlabs.user nick Maya")
    pc13.child("create_documents")
    pc13.as_child(RUN)
    known["login"] = pc13.login()
    assert known["login"] == "XOL00000013"
    account = json.loads(server.file(f"/library/users/{known['login']}/account.json").content_string)
    assert [key["type"] for key in account["keys"]] == ["ssh-ed25519"]
    assert account["nick"] == "Maya"
    latest = f"/library/users/{known['login']}/datastore-latest"
    assert server.check_output(f"ls -d {latest}/??/* | wc -l") == "40"
    assert server.run(f"ls {latest}/index {latest}/ds_clean").rc != 0, "caches are no documents"


def test_2_done_is_done_whatever_the_laptops_clock_says(pc13: Laptop, server: Host, known: dict[str, Any]) -> None:
    """Today's backup is done by the server's day: neither 1970 nor 2037 starts another one."""
    before = stamps(server, known["login"])
    for day in ("1970-01-01 00:10", "2037-12-31 12:00"):
        pc13.as_child(f"faketime {shlex.quote(day)} {RUN}")
    assert stamps(server, known["login"]) == before
    assert why_not(pc13) == "done"


def test_3_a_wrong_clock_holds_no_backup_back(pc13: Laptop, server: Host, known: dict[str, Any]) -> None:
    """A laptop that believes in 1970 backs up; whoever removes the old client's flag asks for it."""
    before = stamps(server, known["login"])
    pc13.as_child(f"rm {PROFILE}/ds-backup-done")
    pc13.as_child(f"faketime '1970-01-01 00:10' {RUN}")
    assert len(stamps(server, known["login"])) == len(before) + 1


def test_4_another_server_of_that_name_is_sent_nothing(pc13: Laptop, server: Host, known: dict[str, Any]) -> None:
    """A network whose schoolserver has another key is sent nothing; a child who registers again accepts it."""
    before = stamps(server, known["login"])
    kept = f"{PROFILE}/xo-client/known_hosts"
    other = pc13.as_child("ssh-keygen -q -t ecdsa -N '' -f ~/other && cut -d' ' -f2 ~/other.pub").strip()
    pc13.as_child(f"echo {STRANGER} {other} > {kept} && rm {PROFILE}/ds-backup-done")
    assert "is not the one that keeps your documents" in pc13.as_child(RUN)
    assert stamps(server, known["login"]) == before
    assert why_not(pc13) == "stranger"
    pc13.as_child("xo-backup register")
    pc13.as_child("xo-backup now --progress none")
    school = server.check_output("ssh-keygen -y -f /library/school-key").split()[1]
    assert school in pc13.host.file(kept).content_string


def test_5_a_network_that_comes_up_starts_the_childs_backup(pc13: Laptop) -> None:
    """NetworkManager's word starts the unit; it waits its turn with the lowest priority."""
    pc13.as_child(f"rm {PROFILE}/ds-backup-done")
    pc13.host.check_output("/usr/lib/NetworkManager/dispatcher.d/90-xo-backup eth0 up")
    shown = pc13.as_child(
        "systemctl --user show -p ActiveState,Nice,CPUSchedulingPolicy,IOSchedulingClass xo-backup.service"
    ).split()
    pc13.as_child("systemctl --user stop xo-backup.service")
    assert set(shown) == {"ActiveState=activating", "Nice=19", "CPUSchedulingPolicy=5", "IOSchedulingClass=3"}


def test_6_the_timer_is_each_childs_from_the_next_login_on(pc13: Laptop) -> None:
    """The timer belongs to every session, with nobody to enable it."""
    wanted = pc13.as_child("systemctl --user show -p Wants timers.target")
    assert "xo-backup.timer" in wanted


def test_7_browse_finds_the_cookie_that_it_would_crash_over(pc12: Laptop) -> None:
    """libsoup, which Browse asks whether the cookie is there, reads it."""
    assert pc12.child("read_cookie") == ["xoid"]


def test_8_without_the_package_the_documents_stay(pc13: Laptop, server: Host, known: dict[str, Any]) -> None:
    """Removing the package stops its timer, and neither the Journal nor the server lose anything."""
    documents = pc13.child("list_documents")
    before = stamps(server, known["login"])
    pc13.as_child("systemctl --user start xo-backup.timer")
    pc13.host.check_output("dpkg --purge xo-client")
    assert pc13.host.run("runuser -l olpc -c 'systemctl --user is-active xo-backup.timer'").stdout.strip() != "active"
    assert not pc13.host.run("find / -xdev -name '*xo_client*' -not -path '/proc/*' -not -path '/home/*'").stdout
    assert pc13.child("list_documents") == documents
    assert stamps(server, known["login"]) == before
