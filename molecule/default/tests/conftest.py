# SPDX-License-Identifier: GPL-3.0-or-later
"""How a laptop sees the server: from another machine, over the network."""

from __future__ import annotations

import base64
import http.client
import os
import socket
import xmlrpc.client
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from testinfra.host import Host

# Of a learner whom no other test touches.
SERIAL = "CSN0000000C"


@dataclass(frozen=True)
class Page:
    """What the front answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


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
