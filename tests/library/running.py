# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module as Ansible does, in this process, and returns what it says."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args


def run(
    module: ModuleType, capsys: pytest.CaptureFixture[str], arguments: dict[str, Any], *, check: bool = False
) -> dict[str, Any]:
    """Return the result of `module` with `arguments`, in check mode where `check` is set."""
    capsys.readouterr()
    given = {**arguments, "_ansible_check_mode": check, "_ansible_diff": True}
    with patch_module_args(given), pytest.raises(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result
