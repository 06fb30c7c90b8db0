# SPDX-License-Identifier: GPL-3.0-or-later
"""How tests act on a laptop: programs are put there, and run as the child does."""

from __future__ import annotations

import base64
import io
import json
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testinfra.host import Host

WHERE = "/opt/laptop"

Run = Callable[..., Any]


def put(host: Host, *folders: Path) -> None:
    """Put the programs of `folders` on the laptop `host`, in place of those that were there."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for program in (program for folder in folders for program in sorted(folder.glob("*.py"))):
            archive.add(program, program.name)
    unpack = f"rm -rf {WHERE} && mkdir {WHERE} && base64 -d | tar -xz --no-same-owner -C {WHERE}"
    host.check_output(f"echo %s | ({unpack})", base64.b64encode(packed.getvalue()).decode())


def new_child(host: Host, user: str = "olpc") -> Run:
    """Make a fresh child on the laptop: `child("register")` runs the program register.py and returns what it said."""
    host.check_output(f"{WHERE}/new_laptop.py {user}")

    def run(program: str, *arguments: str) -> Any:
        command = shlex.join([f"{WHERE}/{program}.py", *arguments])
        done = host.run("runuser -l %s -c %s", user, command)
        assert done.rc == 0, f"{command} ended {done.rc}: {done.stderr.strip()}"
        return json.loads(done.stdout.splitlines()[-1])

    return run
