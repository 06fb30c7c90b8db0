# SPDX-License-Identifier: GPL-3.0-or-later
"""How a laptop sees the server, from another machine over the network; and how a technician deploys it.

Each test runs on every host of the scenario, and touches only the one that it was given.
"""

from __future__ import annotations

import base64
import http.client
import os
import socket
import subprocess
import xmlrpc.client
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
INVENTORY = PROJECT / "build/lab" / os.environ["MOLECULE_SCENARIO_NAME"] / "inventory/hosts.yml"
# Of a learner whom no other test touches.
SERIAL = "CSN0000000C"


@dataclass(frozen=True)
class Page:
    """What the front answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


@pytest.fixture(scope="module")
def name(host: Host) -> str:
    """What the inventory calls the host."""
    return str(host.backend.get_hostname())


@pytest.fixture(scope="module")
def play(name: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`play(playbook, "--check")` runs a playbook on the host alone, with the project's own settings for Ansible."""

    def run(playbook: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
        # molecule's own settings know nothing of library/ here; and a playbook of a test stands apart from the filters.
        plugins = {"ANSIBLE_FILTER_PLUGINS": str(PROJECT / "playbooks/filter_plugins")}
        return subprocess.run(
            ["ansible-playbook", "--inventory", INVENTORY, "--limit", name, playbook, *options],
            env={**os.environ, **plugins, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")},
            cwd=PROJECT, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def takes_dsa(host: Host) -> bool:
    """Whether the host's OpenSSH still knows DSA keys: Debian 13's does not."""
    return str(host.system_info.release) == "12"


@pytest.fixture(scope="module")
def address(host: Host) -> str:
    """The IPv4 address of the school's interface."""
    (first, *_) = (one for one in host.interface("eth0").addresses if ":" not in one)
    return str(first)


@pytest.fixture(scope="module")
def get(address: str) -> Callable[..., Page]:
    """`get("/journal/", body=b"…", Host="…")` asks the front for a page."""

    def ask(path: str, body: bytes | None = None, **headers: str) -> Page:
        connection = http.client.HTTPConnection(address, 80, timeout=15)
        connection.request("POST" if body else "GET", path, body, {"Host": "schoolserver", **headers})
        answer = connection.getresponse()
        return Page(answer.status, answer.headers, answer.read())

    return ask


@pytest.fixture(scope="module")
def ssh() -> list[str]:
    """A client that asks nothing, and leaves this machine's own settings, keys and known hosts alone."""
    settings = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes")
    return ["ssh", "-F", "/dev/null", *(word for setting in settings for word in ("-o", setting))]


@pytest.fixture(scope="module")
def resolve(address: str) -> Callable[[str], list[str]]:
    """`resolve("schoolserver")` asks the school server's DNS for a name's IPv4 addresses."""

    def ask(name: str) -> list[str]:
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        question = os.urandom(2) + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(10)
            asking.sendto(question, (address, 53))
            answer = asking.recv(512)
        count = int.from_bytes(answer[6:8], "big")
        # Each answer: a pointer to the name (2), type (2), class (2), lifetime (4), length (2), the address (4).
        records = (answer[len(question) + 16 * number :][:16] for number in range(count))
        return [socket.inet_ntoa(record[12:]) for record in records if record[2:4] == b"\0\1"]

    return ask


@pytest.fixture(scope="module")
def learner(address: str) -> Iterator[str]:
    """The login name of a laptop that registered over the network."""
    key = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32, 64))).decode()
    server = xmlrpc.client.ServerProxy(f"http://{address}:8080/")
    answer = server.register(SERIAL, "Maya", "5dd1a5d0-7f2d-4c2a-9a5c-0a9d3c0b6a13", key)
    assert isinstance(answer, dict)
    assert answer["success"] == "OK", answer
    yield SERIAL
