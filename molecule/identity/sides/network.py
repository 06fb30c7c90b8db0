# SPDX-License-Identifier: GPL-3.0-or-later
"""The school's network: the addresses of its hosts, and of the laptops that this machine plays."""

from __future__ import annotations

import ipaddress
import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path


def address_of(inventory: str | Path, host: str) -> str:
    """Return the address of `host` in `inventory`, which the lab wrote."""
    return str(json.loads(Path(inventory).read_text(encoding="utf-8"))["all"]["hosts"][host]["ansible_host"])


def addresses(server: str) -> Iterator[str]:
    """Yield the addresses of one laptop after the other, in the network of `server`.

    Each has one of its own as in a school: how many laptops one address may register, or keep places for, counts.
    """
    (route,) = json.loads(_ip("route", "get", server))
    bridge = route["dev"]
    own = next(
        one for one in json.loads(_ip("address", "show", "dev", bridge))[0]["addr_info"] if one["family"] == "inet"
    )
    network = ipaddress.IPv4Network(f"{own['local']}/{own['prefixlen']}", strict=False)
    # The upper half; the lab's hosts stand in the lower. It goes away with the network's bridge.
    ours = list(network.subnets(prefixlen_diff=1))[1]
    _ip("route", "replace", "local", str(ours), "dev", bridge)
    yield from (str(address) for address in itertools.cycle(ours.hosts()))


def _ip(*words: str) -> str:
    return subprocess.run(["ip", "-json", *words], capture_output=True, text=True, check=True).stdout
