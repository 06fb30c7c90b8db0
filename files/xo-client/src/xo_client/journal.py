# SPDX-License-Identifier: GPL-3.0-or-later
"""A Journal on the laptop's disk, in Sugar's layout (PROTOCOL.md section 6): what it holds, what is being written."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Iterator, NamedTuple

UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
# Sugar makes these anew where they are missing.
CACHES = ("index", "index_updated", "ds_clean", "checksums")
_SETTLED = 600  # seconds after which an entry whose size does not fit is damaged, and no longer being written


class Entry(NamedTuple):
    """What one document looked like at a look."""

    files: tuple[tuple[str, int, int], ...]  # name in the entry, bytes, nanoseconds of its mtime; sorted
    newest: float  # seconds since 1970 of the file changed last, by the laptop's clock
    unfinished: bool  # Sugar has begun to write it and has not ended

    @property
    def bytes(self) -> int:
        """The bytes of all its files."""
        return sum(size for _, size, _ in self.files)


def entries(datastore: Path) -> dict[str, Entry]:
    """Return every document of the Journal in `datastore` by its uid; what vanishes meanwhile is left out."""
    return {uid: entry(datastore, uid) for uid in uids(datastore)}


def uids(datastore: Path) -> Iterator[str]:
    """Yield the uids of the documents in `datastore`."""
    for folder in _names(datastore):
        if len(folder) == 2:
            for uid in _names(datastore / folder):
                if UID.fullmatch(uid) and uid.startswith(folder):
                    yield uid


def place(datastore: Path, uid: str) -> Path:
    """Return the directory of the document `uid`."""
    return datastore / uid[:2] / uid


def entry(datastore: Path, uid: str) -> Entry:
    """Return what the document `uid` looks like now."""
    top = place(datastore, uid)
    found = []
    for name in ["data", *("metadata/" + key for key in _names(top / "metadata"))]:
        try:
            one = os.lstat(top / name)
        except OSError:
            continue
        if stat.S_ISREG(one.st_mode):
            found.append((name, one.st_size, one.st_mtime_ns))
    newest = max((mtime for _, _, mtime in found), default=0) / 1e9
    return Entry(tuple(sorted(found)), newest, _is_unfinished(top, found))


def _is_unfinished(top: Path, files: list[tuple[str, int, int]]) -> bool:
    """Say whether Sugar is in the middle of an entry.

    It writes properties under a name with a dot and renames them; the size of the data is among them, and comes before
    the data, which is copied piece by piece (carquinyol: metadatastore.py, datastore.py, filestore.py).
    """
    if any(name.startswith("metadata/.") for name, _, _ in files):
        return True
    size = next((size for name, size, _ in files if name == "data"), 0)
    try:
        if not any(name == "metadata/filesize" for name, _, _ in files):
            raise ValueError  # or it is no file: a pipe would hold the run for ever, a device has no end
        with (top / "metadata" / "filesize").open("rb") as file:
            promised = int(file.read(20))
    except (OSError, ValueError):
        return not any(name.startswith("metadata/") for name, _, _ in files)
    return size != promised


def in_flux(found: dict[str, Entry], now: float) -> set[str]:
    """Return the uids of `found` that are being written at `now` (seconds since 1970, by the laptop's clock).

    One that has been unfinished for ten minutes is damaged: it goes to the server as it is, before it is lost as well.
    A clock that leapt makes an entry look settled or not; it then goes as it is or with the next run.
    """
    return {uid for uid, one in found.items() if one.unfinished and abs(now - one.newest) < _SETTLED}


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
