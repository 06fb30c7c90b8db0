#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a downloaded .xoj back into the Journal as Browse and the Journal do: `install_bundle.py <file>`.

Browse first gives the download an entry of its own; the Journal then sees that it is a bundle and installs it over
that entry. Both steps run Sugar's own code, and Sugar's own datastore service takes the document over: if it finds no
file to take, Sugar only logs that, and so this program waits for the service's word.

Two faults of every Sugar since 0.102 that a bundle has to live with: the unpacked folder is removed before the service
has taken the document out of it, unless the folder cannot be listed (so the bundle's root folder has mode 0300); and a
`checksum` among the properties makes a second download of the same bundle bring back something else.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib
from jarabe.journal import model
from jarabe.journal.journalentrybundle import JournalEntryBundle
from sugar3.datastore import datastore

from said import refuse, say

SECONDS = 10


def main() -> None:
    """Install the bundle and say the uid that the document now has."""
    if len(sys.argv) != 2:
        refuse("name the bundle: install_bundle.py <file.xoj>")
    DBusGMainLoop(set_as_default=True)  # Sugar listens to signals
    path = Path(sys.argv[1])
    uid = enter_download(path)
    loop = GLib.MainLoop()
    updated: list[str] = []

    def note(object_id: str, **_: object) -> None:
        updated.append(object_id)
        loop.quit()

    model.updated.connect(note)  # held weakly: a lambda would be gone at once
    GLib.timeout_add_seconds(SECONDS, loop.quit)
    JournalEntryBundle(model.get_file(uid), uid).install()
    loop.run()
    if uid not in updated:
        refuse(f"Sugar's datastore service did not take the document out of {path} within {SECONDS} seconds")
    say({"uid": uid})


def enter_download(path: Path) -> str:
    """Give the download its entry in the Journal, as Browse does; return its uid."""
    download = datastore.create()
    download.metadata.update({"title": path.name, "mime_type": JournalEntryBundle.MIME_TYPE, "progress": "100"})
    download.file_path = str(path)
    datastore.write(download)
    uid = str(download.object_id)
    download.destroy()
    return uid


if __name__ == "__main__":
    main()
