# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's programs that do a part of our work: run, and where they fail, what they said."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from schoolserver.errors import Refusal

SECONDS = 300  # what is read, packed or signed here is a package of some 100 KiB


def run(*command: str | Path, shown: bool = True) -> str:
    """Run `command`, in English and with nothing to read; return what it printed, "" unless `shown`.

    Raise Refusal with the last line that it wrote to stderr where it fails, is missing or does not end.
    """
    try:
        done = subprocess.run(
            [str(word) for word in command],
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if shown else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise Refusal(f"{command[0]} is missing: `apt-get install --reinstall schoolserver` brings it") from error
    except subprocess.TimeoutExpired as error:
        raise Refusal(f"{command[0]} did not end within {SECONDS} seconds") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit {done.returncode}"]
        raise Refusal(f"{command[0]}: {said[-1]}")
    return done.stdout.decode(errors="replace") if shown else ""
