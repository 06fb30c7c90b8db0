# SPDX-License-Identifier: GPL-3.0-or-later
"""How many new accounts one network address may have: a token bucket for each (a burst, then a steady rate).

Only new accounts cost a token: a laptop that registers again is never sent away for being one of many.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

from schoolserver.errors import Refusal

BURST = 400  # a whole school behind one router, at the first bell
A_MINUTE = 60
_MOST_ADDRESSES = 10_000  # remembered; the one that has been quiet longest makes room


class NewAccounts:
    """The buckets of all addresses. Times are seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # network -> tokens left, as of when

    def spend(self, address: str, now: float) -> None:
        """Take a token from `address`; raise Refusal when it has none left. "" is this machine and has no limit."""
        if not address:
            return
        network = _network(address)
        left = self._left(network, now)
        if left < 1:
            raise Refusal("too many new laptops registered from here just now: try again in a few minutes")
        self._buckets[network] = left - 1, now
        self._buckets.move_to_end(network)
        if len(self._buckets) > _MOST_ADDRESSES:
            self._buckets.popitem(last=False)

    def _left(self, network: str, now: float) -> float:
        left, then = self._buckets.get(network, (float(BURST), now))
        return min(float(BURST), left + (now - then) * A_MINUTE / 60)


def _network(address: str) -> str:
    """Return what counts as one address: of IPv6 the /64, all of whose addresses one machine can have."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"  # all of them together
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)
