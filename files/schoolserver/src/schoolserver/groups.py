# SPDX-License-Identifier: GPL-3.0-or-later
"""What hangs together: things that are named side by side, directly or through others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def together(named: Iterable[Sequence[str]]) -> dict[str, str]:
    """Given which names stand side by side, return {name: the one that stands for all that hang together with it}.

    It takes hardly longer than reading them (union-find with path halving).
    """
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above[name] != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    for names in named:
        for name in names:
            above.setdefault(name, name)
            above[top(name)] = top(names[0])
    return {name: top(name) for name in above}
