# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the server's clock can be trusted to delete by: after a leap forward, only once it ran on for a week. Pure.

A dead battery, or a slip of a person's hand, may put the clock years ahead; every snapshot would look old at once.
What goes by the power alone, how long the machine has been up, shows the leap, and gives people a week to see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

LEAP = 40 * 86_400.0  # seconds; longer than most holidays. A server that was off for longer waits in vain, to no harm
WAIT = 7 * 86_400.0  # seconds of uptime


@dataclass(frozen=True)
class Clock:
    """What the clocks said at the last look, and for how much longer nothing may be deleted."""

    wall: float  # seconds since 1970, as the server's clock had it
    up: float  # seconds since the machine started
    wait: float = 0.0  # seconds of uptime


def looked_at(before: Clock | None, wall: float, up: float) -> Clock:
    """Return the clocks as they are now, given those of the last look; without one nothing has leapt."""
    if before is None:
        return Clock(wall, up)
    # After a restart `up` may be past the old one again: then less has passed than we think, and we wait longer.
    passed = up - before.up if up >= before.up else up
    if wall - before.wall - passed > LEAP:
        return Clock(wall, up, WAIT)
    return Clock(wall, up, max(0.0, before.wait - passed))


def trusted(clock: Clock) -> Clock:
    """Return `clock` where the network's time says that it is right: there is nothing to wait for."""
    return Clock(clock.wall, clock.up)


def why_not(clock: Clock) -> str:
    """Return in words why nothing may be deleted now, "" when it may."""
    if not clock.wait:
        return ""
    now = datetime.fromtimestamp(clock.wall, UTC)
    return (
        f"the clock leapt ahead to {now:%Y-%m-%d %H:%M} UTC: nothing is removed for {clock.wait / 86_400:.1f} more "
        "days of running, so that it can be set right (timedatectl set-time)"
    )
