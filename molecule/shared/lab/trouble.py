# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception that ends a run with a line for a person, and the one way to start another program."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


class Trouble(Exception):
    """Something stands in the way; str() says what, and what to do."""


def call(*command: str | Path, check: bool = True, stdin: str | None = None, timeout: float = 300) -> str:
    """Run `command`, return its standard output stripped; with `check`, raise Trouble if it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise Trouble(f"{words[0]} is not installed: make -B setup") from error
    except subprocess.TimeoutExpired as error:
        raise Trouble(f"no end after {timeout:.0f} s: {' '.join(words)}") from error
    if check and done.returncode != 0:
        raise Trouble(f"{' '.join(words[:4])} … failed: {last_words(done.stderr or done.stdout)}")
    return done.stdout.strip()


def succeeds(*command: str | Path, timeout: float = 60) -> bool:
    """Return whether `command` ends with 0; its output is dropped."""
    words = [str(word) for word in command]
    try:
        return subprocess.run(words, capture_output=True, timeout=timeout, check=False).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def last_words(text: str) -> str:
    """Return the last line of `text` that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def installed(program: str) -> bool:
    """Return whether `program` is on the PATH."""
    return shutil.which(program) is not None
