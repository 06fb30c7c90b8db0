# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E402  what pytest shall explain when it fails must be named before it is imported
"""The school server, and as many laptops as a test wants."""

from __future__ import annotations

import secrets
import shutil
import uuid
from collections.abc import Iterator

import pytest
import testinfra

pytest.register_assert_rewrite("laptop", "views", "small_school")

import network
from laptop import Laptop, Laptops, new_serial
from server import Server
from technician import HOMES, IDENTITY


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The school server. What it knows at the end is kept, to be compared with what its successor knows."""
    inventory = request.config.getoption("ansible_inventory")
    host = testinfra.get_host("ansible://schoolserver", ansible_inventory=inventory)
    server = Server(host, network.address_of(inventory, "schoolserver"))
    yield server
    IDENTITY.write_text("\n".join(server.identity()), encoding="utf-8")


@pytest.fixture(scope="session")
def laptops(server: Server) -> Laptops:
    """`laptops("Jim")` is a new laptop; `laptops("Jim", serial=…, kind="rsa")` one with that serial and that key."""
    shutil.rmtree(HOMES, ignore_errors=True)
    addresses = network.addresses(server.address)

    def make(nick: str, *, kind: str = "dsa", serial: str = "", machine: str = "", name: str = "") -> Laptop:
        serial = serial or new_serial()
        return Laptop.made(
            HOMES / (name or f"{nick}-{secrets.token_hex(4)}"), kind, server=server.address, address=next(addresses),
            serial=serial, uuid=machine or str(uuid.uuid4()), nick=nick,
        )  # fmt: skip

    return make
