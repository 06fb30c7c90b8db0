# SPDX-License-Identifier: GPL-3.0-or-later
"""What `ansible-doc` shows of a module is what the module takes and returns."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

LIBRARY = Path(__file__).parents[2] / "library"
MODULES = sorted(file.stem for file in LIBRARY.glob("xs_*.py"))
CHECKED = ("type", "required", "default", "choices", "elements")


@pytest.mark.parametrize("name", MODULES)
def test_the_documented_options_are_the_ones_the_module_takes(name: str) -> None:
    module = importlib.import_module(name)
    documented = yaml.safe_load(module.DOCUMENTATION)
    assert documented["module"] == name
    assert {option: facts(given) for option, given in documented["options"].items()} == {
        option: facts(given) for option, given in module.OPTIONS.items()
    }


def facts(option: dict[str, Any]) -> dict[str, Any]:
    return {key: option[key] for key in CHECKED if option.get(key) not in (None, False)}


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_use_options_that_exist(name: str) -> None:
    module = importlib.import_module(name)
    used = [task[name] or {} for task in yaml.safe_load(module.EXAMPLES) if name in task]
    assert used
    for options in used:
        assert set(options) <= set(module.OPTIONS)


@pytest.mark.parametrize("name", MODULES)
def test_ansible_doc_can_read_it(name: str) -> None:
    command = [str(Path(sys.executable).parent / "ansible-doc"), "--json", "-t", "module", "-M", str(LIBRARY), name]
    read = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert set(read[name]["return"]) == set(yaml.safe_load(importlib.import_module(name).RETURN))
    assert read[name]["doc"]["attributes"]["check_mode"]["support"] == "full"
    assert read[name]["doc"]["attributes"]["diff_mode"]["support"] == "full"
