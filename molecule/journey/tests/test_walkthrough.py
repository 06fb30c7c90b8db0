# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/walkthrough.md is true: its very commands, typed in its order, print what it shows."""

from __future__ import annotations

from collections.abc import Callable

from testinfra.host import Host

from conftest import PROJECT
from documented import blocks
from reading import matches

PAGE = PROJECT / "docs" / "walkthrough.md"


def test_the_walkthrough_does_what_it_says(laptop: Host, server: Host, seen: Callable[[str], None]) -> None:
    """docs/walkthrough.md does what it says."""
    hosts = {"xo1": laptop, "jim": laptop, "schoolserver": server}
    shown = blocks(PAGE.read_text(encoding="utf-8"))
    assert {block.who for block in shown} == set(hosts)
    for block in shown:
        assert block.who is not None
        user = "jim" if block.who == "jim" else "root"
        done = hosts[block.who].run("runuser -l %s -c %s", user, f"set -euo pipefail\n{block.text}")
        assert done.rc == 0, f"{block.who}: {block.text}ended {done.rc}: {done.stderr}"
        if block.output is not None:
            assert matches(block.output, done.stdout), f"{block.who}: {block.text}printed:\n{done.stdout}"
    seen(f"{len(shown)} blocks of commands typed, all outputs as shown")
