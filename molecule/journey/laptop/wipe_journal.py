#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leave the Journal as a reflash does: its service stopped, every document and every cache gone."""

from __future__ import annotations

import os
import shutil
import signal
import time

import dbus

from old_client import datastore
from said import refuse, say

NAME = "org.laptop.sugar.DataStore"


def main() -> None:
    """Stop the datastore service and remove what it kept."""
    stop_service()
    shutil.rmtree(datastore())
    say({"wiped": datastore()})


def stop_service() -> None:
    """End the service as the end of a session does; the next question starts it again."""
    bus = dbus.SessionBus()
    if not bus.name_has_owner(NAME):
        return
    os.kill(
        bus.call_blocking(
            *("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"),
            "GetConnectionUnixProcessID",
            "s",
            (NAME,),
        ),
        signal.SIGTERM,
    )
    end = time.monotonic() + 10
    while bus.name_has_owner(NAME):
        if time.monotonic() > end:
            refuse(f"{NAME} did not stop")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
