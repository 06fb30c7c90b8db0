#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write over a document as an activity does when a child goes on working: `change_document.py <uid> <new title>`."""

from __future__ import annotations

import sys
from pathlib import Path

import dbus
from dbus.mainloop.glib import DBusGMainLoop
from sugar3 import env
from sugar3.datastore import datastore

from said import refuse, say


def main() -> None:
    """Give the document a new title and other data, and an empty preview, through the datastore service."""
    DBusGMainLoop(set_as_default=True)  # the toolkit listens to signals
    if len(sys.argv) != 3:
        refuse("name the document and its new title: change_document.py <uid> <new title>")
    uid, title = sys.argv[1:]
    document = datastore.get(uid)
    document.metadata["title"] = title
    document.metadata["preview"] = dbus.ByteArray(b"")
    document.file_path = str(Path(env.get_profile_path("data")) / "changed")
    Path(document.file_path).write_text(f"{title}: all the old lines are gone\n", encoding="utf-8")
    datastore.write(document, transfer_ownership=True)
    document.destroy()
    say({"uid": uid, "title": title})


if __name__ == "__main__":
    main()
