# SPDX-License-Identifier: GPL-3.0-or-later
"""How tests reach one host of their lab by its name, beside those that run on each of them."""

from __future__ import annotations

import pytest
import testinfra
from testinfra.host import Host


def named(request: pytest.FixtureRequest, name: str) -> Host:
    """Return the host `name` of the inventory that pytest was given, as root over ssh; raise UsageError without one."""
    inventory = request.config.getoption("ansible_inventory")
    if not inventory:
        raise pytest.UsageError("say where the hosts are: --ansible-inventory=build/lab/lab/inventory/hosts.yml")
    return testinfra.get_host(f"ansible://{name}", ansible_inventory=inventory)
