#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the server to run a command over the laptop's own ssh login: `ask_server.py xs ticket`.

Without a command it asks for a shell.
"""

from __future__ import annotations

import sys

from old_client import host, ssh, watched
from said import say


def main() -> None:
    """Ask, and say what came back and with which exit code."""
    say(watched(lambda log: [*ssh(log), host(), *sys.argv[1:]]))


if __name__ == "__main__":
    main()
