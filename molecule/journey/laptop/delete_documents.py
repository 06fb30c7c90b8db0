#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete documents from the Journal through the datastore service: `delete_documents.py <uid>…`."""

from __future__ import annotations

import sys

from dbus.mainloop.glib import DBusGMainLoop
from sugar3.datastore import datastore

from said import refuse, say


def main() -> None:
    """Delete each document named, and say which."""
    DBusGMainLoop(set_as_default=True)  # the toolkit listens to signals
    if len(sys.argv) < 2:
        refuse("name at least one document: delete_documents.py <uid>…")
    for uid in sys.argv[1:]:
        datastore.delete(uid)
    say(sys.argv[1:])


if __name__ == "__main__":
    main()
