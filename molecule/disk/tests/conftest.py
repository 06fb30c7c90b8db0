# SPDX-License-Identifier: GPL-3.0-or-later
"""Two school servers, each with its library elsewhere."""

from __future__ import annotations

import pytest
import testinfra
from testinfra.host import Host


@pytest.fixture
def with_disk(request: pytest.FixtureRequest) -> Host:
    """The one whose inventory names a disk."""
    return _host(request, "schoolserver")


@pytest.fixture
def with_image(request: pytest.FixtureRequest) -> Host:
    """The one whose inventory names none."""
    return _host(request, "imageserver")


def _host(request: pytest.FixtureRequest, name: str) -> Host:
    return testinfra.get_host(f"ansible://{name}", ansible_inventory=request.config.getoption("ansible_inventory"))
