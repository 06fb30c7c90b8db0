#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start Sugar's first run for a child: `first_start.py <nick>`. Sugar's own code makes the profile and the DSA key."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from gi.repository import Gio

from said import refuse, say

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Gtk complains that there is no screen; the profile needs none
    from jarabe.intro.window import create_profile_with_nickname
from sugar3 import env


def main() -> None:
    """Make the profile and say which key it got."""
    if len(sys.argv) != 2:
        refuse("name the child: first_start.py <nick>")
    create_profile_with_nickname(sys.argv[1])
    Gio.Settings.sync()  # Sugar would run on; this program ends, and unwritten settings with it
    key = Path(env.get_profile_path("owner.key.pub"))
    if not key.exists():
        refuse("Sugar made no key: this OpenSSH has no DSA (Debian 13); use Debian 12")
    say({"nick": sys.argv[1], "key": key.read_text(encoding="ascii").split()[0]})


if __name__ == "__main__":
    main()
