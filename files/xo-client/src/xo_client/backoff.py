# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a laptop waits before it asks a busy server again. Pure, so that a simulator can run a whole school."""

from __future__ import annotations

from typing import Callable

SPREAD = 1200  # seconds over which a school's laptops begin, as the old client does it
ATTEMPTS = 7
LONGEST_ASKED = 3600  # seconds that a server may ask for: what ours says when it is full (permission.py)
_BASE, _CAP = 120, 3840  # seconds: 2, 4, 8, 16, 32, 64 minutes

Uniform = Callable[[float, float], float]


def wait(attempt: int, uniform: Uniform, retry_after: int | None = None) -> float | None:
    """Return the seconds to wait after refusal number `attempt` (1 is the first); None: give up for today.

    Full jitter: anything from nothing to the doubled wait, so that those who were refused together do not come back
    together (M. Brooker, "Exponential Backoff And Jitter", 2015: the least work for the server of all compared).
    What the server itself asked for, `retry_after` (seconds), is waited at least, up to an hour: a run that waits is in
    the way of the next, and any network's schoolserver could ask for a week. `uniform` is random.uniform.
    """
    if attempt >= ATTEMPTS:
        return None
    return min(retry_after or 0, LONGEST_ASKED) + uniform(0, min(_CAP, _BASE * 2 ** (attempt - 1)))


def spread(uniform: Uniform) -> float:
    """Return the seconds to wait before the first question of a run that a timer or the network started."""
    return uniform(0, SPREAD)
