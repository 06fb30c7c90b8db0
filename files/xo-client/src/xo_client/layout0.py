# SPDX-License-Identifier: GPL-3.0-or-later
"""An entry of Sugar 0.82's datastore (layout 0; PROTOCOL.md section 6) made one of today's.

`store/<uid>` is the data, `store/<uid>.metadata` the properties as JSON, `store/preview/<uid>` the preview. Sugar's own
migration has been broken since it moved to Python 3: it writes b'…' into each property, and then deletes `store`.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

STORE = "store"
_METADATA = ".metadata"
_LONGEST = 512 * 1024  # bytes of one entry's properties
_MOST = 256  # properties of one entry; the server reads as many
_DATE = "%Y-%m-%dT%H:%M:%S"


class Unreadable(Exception):
    """Why an entry cannot be made one of today's, for a child."""


def convert(store: Path, uid: str, entry: Path) -> None:
    """Make the directory `entry` out of the files of `uid` in `store`, which stay; raise Unreadable or OSError.

    Times are kept: each property has that of the file that all of them were in.
    """
    said = _properties(store / metadata(uid), uid)
    written = os.lstat(store / metadata(uid)).st_mtime_ns
    properties = entry / "metadata"
    properties.mkdir(parents=True)
    for key, value in said.items():
        (properties / key).write_bytes(value)
        os.utime(properties / key, ns=(written, written))
    _take(store / uid, entry / "data")
    _take(store / "preview" / uid, properties / "preview")


def metadata(uid: str) -> str:
    """Return the name in `store` of the file that has the properties of `uid`."""
    return uid + _METADATA


def _properties(file: Path, uid: str) -> dict[str, bytes]:
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
            said = json.loads(opened.read(_LONGEST).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        raise Unreadable("its title and all that belongs to it are not readable") from None
    if not isinstance(said, dict) or len(said) > _MOST:
        raise Unreadable("its title and all that belongs to it are not readable")
    if "timestamp" not in said:
        said["timestamp"] = _seconds(said.get("mtime"))
    if "creation_time" not in said:
        said["creation_time"] = _seconds(said.get("ctime")) or said["timestamp"]
    found = {key: _bytes(value) for key, value in said.items() if _is_key(key) and value is not None}
    return {**found, "uid": uid.encode()}


def _is_key(key: str) -> bool:
    return 0 < len(os.fsencode(_clean(key))) <= 100 and key == _clean(key) and key not in ("preview", "checksum")


def _clean(text: str) -> str:
    # Half a surrogate pair is legal JSON that no file takes; a slash or a dot would lead out of the entry.
    return text.encode("utf-8", "replace").decode().replace("\0", "").replace("/", "").lstrip(".")


def _bytes(value: Any) -> bytes:
    if isinstance(value, float) and abs(value) < 2**63:  # not NaN; Sugar takes whole seconds only
        value = int(value)
    return str(value).encode("utf-8", "replace")


def _seconds(text: Any) -> Any:
    try:
        return int(time.mktime(time.strptime(str(text)[:19], _DATE)))
    except (ValueError, OverflowError):
        return None


def _take(source: Path, target: Path) -> None:
    """Link or copy `source` where it is a file."""
    try:
        if not stat.S_ISREG(os.lstat(source).st_mode):
            return
    except OSError:
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
