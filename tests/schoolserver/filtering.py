# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter of system calls as a file, written the way the package writes it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

import schoolserver

# One instruction, "return SECCOMP_RET_ALLOW" (linux/filter.h, linux/seccomp.h): all that the other walls have to stop.
ALL = bytes.fromhex("060000000000ff7f")


@cache
def filter_file(directory: Path | None = None) -> Path:
    """Return a file that any learner can read; skip the test where Debian's python3-seccomp is not installed."""
    file = (directory or Path(tempfile.mkdtemp(prefix="xs-filter-"))) / "jail.bpf"
    file.parent.chmod(0o755)
    # Debian's Python: the module is not in the virtual environment.
    command = ["/usr/bin/python3", "-m", "schoolserver.syscall_filter", str(file)]
    package = {**os.environ, "PYTHONPATH": str(Path(schoolserver.__file__).parents[1])}
    done = subprocess.run(command, env=package, capture_output=True, text=True, check=False)
    if "No module named 'seccomp'" in done.stderr:
        pytest.skip("python3-seccomp is not installed")
    assert done.returncode == 0, done.stderr
    file.chmod(0o644)
    return file
