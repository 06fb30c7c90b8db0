# SPDX-License-Identifier: GPL-3.0-or-later
"""A Journal entry bundle, .xoj (PROTOCOL.md section 7): a stored zip, written while it is sent.

Its length is known before the first byte, so Browse can check its disk space and show progress, and a document of any
size passes through this process in small pieces.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from schoolserver import entries
from schoolserver.entries import Entry
from schoolserver.errors import Refusal

MIME_TYPE = "application/vnd.olpc-journal-entry"
LARGEST = 2**31 - 2**20  # bytes of data: above, a zip needs extensions that Sugar's laptops have no memory for anyway
_PIECE = 256 * 1024
# Sugar's index does arithmetic with these: text that is no number would stop the whole entry (carquinyol indexstore).
_NUMBERS = ("timestamp", "creation_time", "filesize")
# preview goes in as a file of its own; a mountpoint would make Sugar write to a stick that is not there; a checksum
# tells its datastore that it has the data already, under another entry (carquinyol optimizer).
_LEFT_OUT = ("preview", "mountpoint", "checksum")
# Since 0.102 Sugar removes the unpacked folder before its datastore service has taken the data out of it, and the entry
# comes back without data. A folder that its owner may enter and change, but not list, survives that: rmtree gives up.
_FOLDER_MODE = 0o040300

# Of the zip format (APPNOTE.TXT): fixed parts of a local header, data descriptor, central entry, and the end record.
_LOCAL, _DESCRIPTOR, _CENTRAL, _END = 30, 16, 46, 22

Opener = Callable[[], AbstractContextManager[Entry]]


@dataclass(frozen=True)
class Bundle:
    """A bundle ready to be sent: how many bytes it has, and how to make them."""

    length: int
    pieces: Callable[[], Iterator[bytes]]


def prepare(uid: str, opened: Opener) -> Bundle:
    """Return the bundle of the document `uid`, whose entry `opened()` opens; raise OSError or Refusal."""
    with opened() as entry:
        small = {
            f"{uid}/_metadata.json": metadata_json(entries.properties(entry)),
            # Since Sugar 0.113 a bundle without this member cannot be installed.
            f"{uid}/preview/{uid}": entries.preview(entry) or b"",
        }
        # Always there: Sugar's datastore refuses an update whose file is missing ("No file at"), not an empty one.
        size = entries.data_size(entry) or 0
    if size > LARGEST:
        raise Refusal("this document is too large to be brought back through the page: ask for a whole restore")
    sizes = {f"{uid}/": 0, f"{uid}/{uid}": size} | {name: len(content) for name, content in small.items()}
    return Bundle(zip_length(sizes), lambda: _zip(uid, small, opened))


def metadata_json(properties: dict[str, str]) -> bytes:
    """Return _metadata.json: all values text, as Sugar writes it, without what would stop it from installing."""
    kept = {
        key: value
        for key, value in properties.items()
        if key not in _LEFT_OUT and not (key in _NUMBERS and not _is_number(value))
    }
    return json.dumps(kept).encode()


def zip_length(sizes: dict[str, int]) -> int:
    """Return the bytes of a stored, streamed zip with members of these names and sizes."""
    return _END + sum(_LOCAL + _DESCRIPTOR + _CENTRAL + 2 * len(name) + size for name, size in sizes.items())


class _Sink:
    """What ZipFile writes to: it holds the bytes until they are taken, and cannot seek."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _zip(uid: str, small: dict[str, bytes], opened: Opener) -> Iterator[bytes]:
    sink = _Sink()
    with opened() as entry, zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        folder = zipfile.ZipInfo(f"{uid}/")
        folder.external_attr = _FOLDER_MODE << 16
        with archive.open(folder, "w"):
            pass
        for name, content in small.items():
            with archive.open(zipfile.ZipInfo(name), "w") as member:
                member.write(content)
        yield sink.take()
        with archive.open(zipfile.ZipInfo(f"{uid}/{uid}"), "w") as member:
            for piece in _data(entry):
                member.write(piece)
                yield sink.take()
    yield sink.take()


def _data(entry: Entry) -> Iterator[bytes]:
    if entries.data_size(entry) is None:
        return
    with os.fdopen(entries.open_file(entry, "data"), "rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 11
