# SPDX-License-Identifier: GPL-3.0-or-later
"""The name, the firewall and the front, seen from another machine of the school's network."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from testinfra.host import Host

Get = Callable[..., Any]
LEARNER_UID = 20123
CONNECT = "import socket; socket.create_connection(('127.0.0.1', 80), timeout=5)"


def connect(address: str, port: int) -> None:
    """Open a connection and close it; raise OSError when that is not possible."""
    socket.create_connection((address, port), timeout=5).close()


@pytest.fixture
def stray_service(host: Host) -> Iterator[int]:
    """The port of something on the server that the school's network should not reach."""
    host.check_output("systemd-run --unit=stray --collect python3 -m http.server 9999")
    host.check_output("for i in $(seq 50); do ss --listening --tcp | grep -q :9999 && break; sleep .1; done")
    yield 9999
    host.check_output("systemctl stop stray")


def test_the_name_leads_to_the_address_of_the_schools_interface(
    resolve: Callable[[str], list[str]], address: str
) -> None:
    assert resolve("schoolserver") == [address]


def test_names_of_the_school_are_asked_nowhere_else(resolve: Callable[[str], list[str]]) -> None:
    assert resolve("nobody-here") == []


def test_other_resolvers_of_the_machine_keep_their_addresses(host: Host, address: str) -> None:
    assert host.socket(f"udp://{address}:53").is_listening
    assert not host.socket("udp://127.0.0.1:53").is_listening
    assert not host.socket("udp://0.0.0.0:53").is_listening


# 2222: sshd's second one, which only the host itself knows of.
@pytest.mark.parametrize("port", [22, 53, 80, 2222, 8080])
def test_laptops_reach_what_they_need(address: str, port: int) -> None:
    connect(address, port)


def test_laptops_reach_nothing_else(host: Host, address: str, stray_service: int) -> None:
    with pytest.raises(OSError, match=r"unreachable|prohibited|No route"):
        connect(address, stray_service)
    host.check_output(f"python3 -c \"import socket; socket.create_connection(('127.0.0.1', {stray_service}), 5)\"")


def test_nothing_else_listens_to_the_network(host: Host) -> None:
    listening = host.check_output("ss --no-header --listening --tcp --numeric").splitlines()
    outside = {line.split()[3] for line in listening if not line.split()[3].startswith(("127.", "[::1]"))}
    assert {int(one.rpartition(":")[2]) for one in outside} == {22, 53, 80, 2222, 8080}


def test_a_learner_opens_no_connection_not_even_on_the_machine_itself(host: Host) -> None:
    assert host.run(f'python3 -c "{CONNECT}"').succeeded
    refused = host.run(f'setpriv --reuid={LEARNER_UID} --regid={LEARNER_UID} --clear-groups python3 -c "{CONNECT}"')
    assert refused.failed
    # The kernel gives the caller the reason of the reject.
    assert re.search(r"refused|unreachable|prohibited|No route|not permitted", refused.stderr), refused.stderr


@pytest.mark.parametrize("verb", ["restart", "reload"])
def test_the_firewall_comes_back_when_debians_own_flushes_everything(host: Host, verb: str) -> None:
    host.check_output("systemctl start nftables.service")
    host.check_output(f"systemctl {verb} nftables.service")
    # systemctl waits for Debian's, and ours comes right after it.
    host.check_output("for i in $(seq 50); do nft list table inet xs && exit; sleep .1; done; exit 1")
    host.check_output("systemctl stop nftables.service && systemctl start schoolserver-firewall.service")
    assert host.run("nft list table inet xs").succeeded


def test_a_technicians_own_tables_are_left_alone(host: Host) -> None:
    host.check_output("nft add table inet technician && systemctl reload schoolserver-firewall.service")
    assert host.run("nft list table inet technician").succeeded
    host.check_output("nft delete table inet technician")


def test_the_front_sends_a_child_to_the_journal_page(get: Get) -> None:
    page = get("/")
    assert page.status == 302
    assert page.headers["Location"].endswith("/journal/")


def test_the_front_does_not_say_which_version_it_is(get: Get) -> None:
    assert get("/nothing-here").headers["Server"] == "nginx"


def test_the_front_knows_the_server_by_its_address_as_well(get: Get, address: str) -> None:
    assert get("/", Host=address).status == 302


def test_a_large_upload_is_refused_at_once(get: Get) -> None:
    assert get("/journal/", body=b"x" * 100_000).status == 413
