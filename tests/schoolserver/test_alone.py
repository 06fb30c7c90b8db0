# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from schoolserver.alone import alone
from schoolserver.errors import Refusal


def test_one_works_and_the_other_says_why_it_does_not(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with alone(lock, "the first"), pytest.raises(Refusal, match="already"), alone(lock, "already under way"):
        pytest.fail("two at once")
    with alone(lock, "free again"):
        assert lock.stat().st_mode & 0o777 == 0o600


def test_whoever_dies_lets_go(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    script = "import os\nfrom pathlib import Path\nfrom schoolserver.alone import alone\n"
    script += f"with alone(Path({str(lock)!r}), ''): os.kill(os.getpid(), 9)"
    package = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=package, check=False).returncode == -9
    with alone(lock, "still held"):
        pass
