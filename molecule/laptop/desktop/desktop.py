#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sugar's whole desktop on a screen that only programs see: `desktop.py start|stop`, as the child, in its session."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

DISPLAY = ":9"
SCREEN, SUGAR = "lab-screen", "lab-sugar"  # units of the child's session
# What Sugar asks a child the first time it starts.
ANSWERS = {"color": "#FF2B34,#005FE4", "birth-timestamp": "1400000000", "group-label": "5th Grade", "gender": "male"}


def main() -> None:
    """Start or stop the desktop, and say whether it runs."""
    start() if sys.argv[1:] == ["start"] else stop()
    print(json.dumps({"running": runs(SUGAR)}))


def start() -> None:
    """Start the screen where it is not there yet, and Sugar on it. The child has been asked Sugar's questions."""
    for key, value in ANSWERS.items():
        run("gsettings", "set", "org.sugarlabs.user", key, value)
    if not runs(SCREEN):
        unit(SCREEN, "Xvfb", DISPLAY, "-screen", "0", "1200x900x24")
        socket = Path(f"/tmp/.X11-unix/X{DISPLAY[1:]}")
        while not socket.exists():
            time.sleep(0.1)
    unit(SUGAR, "sugar")


def stop() -> None:
    """End Sugar, and all that it started."""
    if runs(SUGAR):
        run("systemctl", "--user", "stop", SUGAR)


def unit(name: str, *command: str) -> None:
    """Run `command` as the unit `name` of the child's session."""
    environment = [f"--setenv={pair}" for pair in (f"DISPLAY={DISPLAY}", "GDK_BACKEND=x11", "LANG=C.UTF-8")]
    run("systemd-run", "--user", "--quiet", "--collect", f"--unit={name}", *environment, *command)


def runs(name: str) -> bool:
    """Say whether the unit `name` runs."""
    return subprocess.run(("systemctl", "--user", "--quiet", "is-active", name), check=False).returncode == 0


def run(*command: str) -> None:
    """Run `command`; raise CalledProcessError if it fails."""
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
