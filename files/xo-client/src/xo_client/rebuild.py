# SPDX-License-Identifier: GPL-3.0-or-later
"""What Sugar does to an entry when it makes its index anew: it DELETES those that it cannot read.

A restore makes Sugar do that, so each entry is looked at first, with the eyes of carquinyol 0.120 (datastore.py,
metadatastore.py, indexstore.py, metadatareader.c; each rule here was seen at work in the real one). Everything in an
entry may be hostile or half written.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from xo_client.restore_plan import LONGEST_PROPERTY

_INT32 = ("filesize", "creation_time", "timestamp")
# The index has each of these as one term, and a term has at most 245 bytes with its prefix.
_TERMS = ("uid", "activity", "activity_id", "mime_type", "keep", "project_id")
_LONGEST_TERM = 243
_DATE = "%Y-%m-%dT%H:%M:%S"
_LONGEST_TITLE = 200  # characters that are shown of one


def damage(entry: Path) -> str:
    """Return why Sugar could not read the entry, or that its data is not whole; "" where it is sound."""
    try:
        items = list(os.scandir(entry / "metadata"))
    except OSError:
        items = []
    if not items:
        return "its title and all that belongs to it are missing"
    promised = None
    for item in items:
        if not item.is_file(follow_symlinks=False):
            # A link that leads nowhere, a directory on Debian 13. Sugar would wait at a pipe for ever.
            return "there is something in it that is no file"
        try:
            # Of a picture only its size counts, and it is most of what there is.
            is_picture = item.name == "preview" and item.stat(follow_symlinks=False).st_size <= LONGEST_PROPERTY
            value = b"" if is_picture else _read(item.path, LONGEST_PROPERTY + 1)
        except OSError:
            return f"its {_shown(item.name)} is not readable"
        why = _damage_of(item.name, value)
        if why:
            return why
        if item.name == "filesize":
            promised = int(value)
    return _damage_of_data(entry, promised)


def _damage_of(key: str, value: bytes) -> str:
    try:
        key.encode("utf-8")
        if key != "preview":
            value.decode("utf-8")
    except UnicodeError:
        return f"its {_shown(key)} is not readable"
    if len(value) > LONGEST_PROPERTY:
        return f"its {_shown(key)} is too long"
    if key in _INT32:
        try:
            if not -(2**31) <= int(value) < 2**31:
                raise ValueError
        except ValueError:
            return f"its {key} is no number that Sugar can read"
    if key in _TERMS and len(value) + value.count(b"\0") > _LONGEST_TERM:
        return f"its {key} is too long"
    return ""


def _damage_of_data(entry: Path, promised: int | None) -> str:
    try:
        one = os.lstat(entry / "data")
        size = one.st_size if stat.S_ISREG(one.st_mode) else -1
    except OSError:
        size = 0
    if size < 0:
        return "its contents are no file"
    if promised is not None and size < promised:
        return "its contents are missing" if size == 0 else "its contents are not whole"
    return ""


def will_delete(entry: Path) -> str:
    """Return why Sugar would delete this entry, "" where it would not: what is short of data it keeps."""
    why = damage(entry)
    return "" if why.startswith("its contents") else why


def _read(path: str, most: int) -> bytes:
    """Return the first `most` bytes of a file that may have become a link or a pipe since one looked; raise OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)


def title(entry: Path) -> str:
    """Return the entry's title on one line, "" where there is none."""
    try:
        text = _read(str(entry / "metadata" / "title"), 4 * _LONGEST_TITLE).decode("utf-8", "replace")
    except OSError:
        return ""
    return "".join(sign for sign in " ".join(text.split()) if sign.isprintable())[:_LONGEST_TITLE]


def complete(entry: Path) -> None:
    """Add the creation time to an entry that has only the older `ctime`: Sugar for Python 3 deletes such a one.

    It takes the time out of `ctime` as a float, which its own writer refuses. Raise OSError.
    """
    metadata = entry / "metadata"
    try:
        if (metadata / "creation_time").exists() or (metadata / "ctime").is_symlink():
            return
        raw = (metadata / "ctime").read_bytes()[:100].decode("ascii")
        seconds = int(time.mktime(time.strptime(raw, _DATE)))
    except (OSError, ValueError, OverflowError):
        return  # Sugar then takes the timestamp, which works
    new = metadata / ".creation_time"
    with new.open("wb") as file:
        file.write(str(min(max(seconds, 0), 2**31 - 1)).encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, metadata / "creation_time")


def _shown(key: str) -> str:
    return ascii(key)[1:-1][:40]
