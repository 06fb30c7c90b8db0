# SPDX-License-Identifier: GPL-3.0-or-later
"""Two laptops of today with Sugar's desktop, the school server, and the laptop's package as it is built from here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from testinfra.host import Host

import on_host
from lab import places
from sugar_laptop import Laptop


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Host:
    """The school server, as root over ssh."""
    return on_host.named(request, "schoolserver")


@pytest.fixture(scope="session")
def package() -> Path:
    """The laptop's package, built from this clone."""
    build = (places.PROJECT / "files" / "build-package", "xo-client")
    deb, _rpm = subprocess.run(build, capture_output=True, text=True, check=True).stdout.split()
    return Path(deb)


@pytest.fixture(scope="session")
def pc12(request: pytest.FixtureRequest) -> Laptop:
    """Debian 12 with Sugar 0.120."""
    return Laptop(on_host.named(request, "pc12"), "pc12")


@pytest.fixture(scope="session")
def pc13(request: pytest.FixtureRequest) -> Laptop:
    """Debian 13 with Sugar 0.121."""
    return Laptop(on_host.named(request, "pc13"), "pc13")
