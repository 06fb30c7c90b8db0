#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Register with the school server by Sugar's own code, as the child's "Register" menu entry does."""

from __future__ import annotations

from pathlib import Path

from gi.repository import Gio
from jarabe.desktop.schoolserver import RegisterError, register_laptop
from sugar3 import env

from said import refuse, say


def main() -> None:
    """Register, and say the serial and what Sugar's settings now hold."""
    try:
        register_laptop()
    except RegisterError as error:
        refuse(str(error))
    Gio.Settings.sync()
    say(
        {
            "serial": Path(env.get_profile_path("identifiers/sn")).read_text(encoding="ascii"),
            "backup_url": Gio.Settings.new("org.sugarlabs").get_string("backup-url"),
            "jabber_server": Gio.Settings.new("org.sugarlabs.collaboration").get_string("jabber-server"),
        }
    )


if __name__ == "__main__":
    main()
