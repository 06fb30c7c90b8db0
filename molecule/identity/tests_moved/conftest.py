# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E402  what pytest shall explain when it fails must be named before it is imported
"""The new school server, and the laptops that the old one served."""

from __future__ import annotations

import pytest
import testinfra

pytest.register_assert_rewrite("laptop", "views", "small_school")

import network
import small_school
from server import Server
from small_school import School
from technician import HOMES, IDENTITY


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Server:
    """The new school server."""
    inventory = request.config.getoption("ansible_inventory")
    host = testinfra.get_host("ansible://newserver", ansible_inventory=inventory)
    return Server(host, network.address_of(inventory, "newserver"))


@pytest.fixture(scope="session")
def school(server: Server) -> School:
    """The laptops, as they were left."""
    return small_school.found(HOMES, server.address)


@pytest.fixture(scope="session")
def identity_before() -> list[str]:
    """Who was who on the old school server at its end."""
    return IDENTITY.read_text(encoding="utf-8").splitlines()
