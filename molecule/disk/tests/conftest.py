# SPDX-License-Identifier: GPL-3.0-or-later
"""Two school servers, each with its library elsewhere."""

from __future__ import annotations

import pytest
from testinfra.host import Host

import on_host


@pytest.fixture
def with_disk(request: pytest.FixtureRequest) -> Host:
    """The one whose inventory names a disk."""
    return on_host.named(request, "schoolserver")


@pytest.fixture
def with_image(request: pytest.FixtureRequest) -> Host:
    """The one whose inventory names none."""
    return on_host.named(request, "imageserver")
