#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what Sugar's own datastore service finds in the child's Journal: every document with its properties and data."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from dbus.mainloop.glib import DBusGMainLoop
from sugar3.datastore import datastore

from said import say

# What changes with every write: not part of what a child would miss.
NOT_CONTENT = ("preview", "uid", "checksum", "timestamp", "mtime", "filesize")


def main() -> None:
    """Print {uid: {"properties", "preview", "data"}}; preview and data are SHA-256 sums, null where there is none."""
    DBusGMainLoop(set_as_default=True)  # the toolkit listens to signals
    found, _ = datastore.find({})
    say({str(document.object_id): describe(document) for document in found})


def describe(document: Any) -> dict[str, Any]:
    """Return what one document is, as text."""
    properties = document.metadata.get_dictionary()
    path = document.file_path
    described = {
        "properties": {str(key): str(value) for key, value in properties.items() if key not in NOT_CONTENT},
        # the toolkit turns an empty preview into text
        "preview": sum_of(bytes(properties.get("preview") or b"")),
        "data": sum_of(Path(path).read_bytes()) if path else None,
    }
    document.destroy()
    return described


def sum_of(content: bytes) -> str | None:
    """Return the SHA-256 of `content`, None if it is empty."""
    return hashlib.sha256(content).hexdigest() if content else None


if __name__ == "__main__":
    main()
