# SPDX-License-Identifier: GPL-3.0-or-later
"""A school at its first released version: a server, and laptops that have not met it yet."""

from __future__ import annotations

import pytest
from testinfra.host import Host

import clone
import on_host
from small_laptop import Laptop


@pytest.fixture(scope="session")
def first() -> str:
    """The version that the school has at the beginning."""
    return clone.clone_first_release()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Host:
    """The school server, as root over ssh."""
    return on_host.named(request, "schoolserver")


@pytest.fixture(scope="session")
def pc12(request: pytest.FixtureRequest) -> Laptop:
    """Debian 12."""
    return Laptop(on_host.named(request, "pc12"), "pc12", "XOL00000012")


@pytest.fixture(scope="session")
def pc13(request: pytest.FixtureRequest) -> Laptop:
    """Debian 13."""
    return Laptop(on_host.named(request, "pc13"), "pc13", "XOL00000013")


@pytest.fixture(scope="session")
def asleep(request: pytest.FixtureRequest) -> Laptop:
    """Debian 12; its lid is shut while the technician pushes."""
    return Laptop(on_host.named(request, "asleep"), "asleep", "XOL00000014")


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> Laptop:
    """Debian 13; its disk is full while the technician pushes."""
    return Laptop(on_host.named(request, "full"), "full", "XOL00000015")
