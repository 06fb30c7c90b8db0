# SPDX-License-Identifier: GPL-3.0-or-later
"""What README.md tells people to type exists, and something runs it (molecule/readme types the rest for real)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from documented import Block, blocks

TOP = Path(__file__).parents[2]
README = (TOP / "README.md").read_text(encoding="utf-8")
# Who runs what the README shows: these tests read the same blocks and run each command in them.
RUNNERS = {
    "newcomer": "Makefile",
    "technician": "molecule/readme/tests/test_readme.py",
    "server": "molecule/readme/tests/test_readme.py",
}


def commands_of(who: str) -> list[str]:
    return [command for block in blocks(README) if block.who == who for command in block.commands]


@pytest.mark.parametrize("block", blocks(README), ids=lambda block: f"line {block.line}")
def test_each_block_of_commands_names_who_runs_it(block: Block) -> None:
    assert block.who in RUNNERS
    assert (TOP / RUNNERS[block.who]).exists()


def test_what_a_newcomer_types_is_what_make_test_runs() -> None:
    assert commands_of("newcomer") == ["apt-get install --yes git make", "make lab", "make lab-down", "make test"]
    recipe = re.search(r"^test:.*\n((?:\t.*\n)+)", (TOP / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe is not None
    assert re.search(r"\$\(MAKE\).*\blab\b", recipe[1])
    assert re.search(r"\$\(MAKE\).*\blab-down\b", recipe[1])
    assert "make test" in (TOP / ".ci/run").read_text(encoding="utf-8")


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_each_link_leads_somewhere(link: str) -> None:
    assert (TOP / link).exists()
