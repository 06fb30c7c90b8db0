# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages under docs/ tell people to type can be typed; links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from documented import blocks
from schoolserver import cli

TOP = Path(__file__).parents[2]
PAGES = sorted((TOP / "docs").glob("*.md"))
COMMANDS = [
    (page.name, command)
    for page in PAGES
    for block in blocks(page.read_text(encoding="utf-8"))
    for command in block.commands
]
SETTINGS = re.compile(r"`(xs_[a-z]+_[a-z_]+|xs_rekey)\b")


@pytest.mark.parametrize(("page", "command"), [one for one in COMMANDS if one[1].startswith("xs ")])
def test_the_servers_command_understands_it(page: str, command: str) -> None:
    cli.parser().parse_args(shlex.split(command)[1:])


@pytest.mark.parametrize(("page", "command"), [one for one in COMMANDS if "playbooks/" in one[1]])
def test_the_playbook_is_there(page: str, command: str) -> None:
    (playbook,) = re.findall(r"playbooks/[a-z_]+\.yml", command)
    assert (TOP / playbook).exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_setting_and_module_that_is_named_exists(page: Path) -> None:
    known = "".join(file.read_text(encoding="utf-8") for file in (TOP / "roles").glob("*/meta/argument_specs.yml"))
    modules = {file.stem for file in (TOP / "library").glob("*.py")}
    for name in set(SETTINGS.findall(page.read_text(encoding="utf-8"))) - modules:
        assert f"\n      {name}:" in known, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link
