# SPDX-License-Identifier: GPL-3.0-or-later
"""Layout 0 of a Sugar datastore (Sugar 0.82; PROTOCOL.md section 6): one directory, `store`, of all entries.

`store/<uid>` is the data, `store/<uid>.metadata` the properties as JSON, `store/preview/<uid>` the preview.
"""

from __future__ import annotations

import itertools
import json
import os
import stat
from contextlib import suppress
from typing import Any

from schoolserver import opening

STORE = "store"
_METADATA = ".metadata"
_LONGEST = 512 * 1024  # bytes of one entry's properties
_MOST = 256  # properties of one entry


def is_layout0(top: int) -> bool:
    """Say whether the datastore at `top` is of layout 0, which has no version file."""
    with suppress(FileNotFoundError):
        os.stat("version", dir_fd=top, follow_symlinks=False)
        return False
    try:
        return stat.S_ISDIR(os.stat(STORE, dir_fd=top, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def entries(store: int, most: int) -> dict[str, bool]:
    """Return {name: whether it has data} of every entry in `store`; raise TooMany above `most`."""
    found: dict[str, bool] = {}
    with os.scandir(store) as listing:
        for number, item in enumerate(listing):
            if number >= 2 * most:
                raise opening.TooMany(f"more than {most} documents")
            name = item.name.removesuffix(_METADATA)
            if item.name != name and item.is_file(follow_symlinks=False):
                found[name] = opening.status_of_file(store, name) is not None
    return found


def names(uid: str, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return where in `store` the entry's file of the later layouts is; raise FileNotFoundError for a property."""
    if wanted == ("data",):
        return (uid,)
    if wanted == ("metadata", "preview"):
        return ("preview", uid)
    raise FileNotFoundError("/".join(wanted))


def files(store: int, uid: str) -> list[tuple[tuple[str, ...], os.stat_result]]:
    """Return data, preview and, standing for all other properties, the metadata file, as entries.files() does."""
    found: list[tuple[tuple[str, ...], os.stat_result]] = []
    if status := opening.status_of_file(store, uid):
        found.append((("data",), status))
    if status := opening.status_of_file(store, f"{uid}{_METADATA}"):
        found.append((("metadata",), status))
    with suppress(OSError), opening.opened(store, "preview") as previews:
        if status := opening.status_of_file(previews, uid):
            found.append((("metadata", "preview"), status))
    return found


def check(store: int, uid: str) -> None:
    """Raise FileNotFoundError if there is no such entry."""
    os.stat(f"{uid}{_METADATA}", dir_fd=store, follow_symlinks=False)


def properties(store: int, uid: str) -> dict[str, str]:
    """Return what the entry's JSON says, as text; nothing where it is no JSON object."""
    try:
        said = json.loads(opening.read(store, f"{uid}{_METADATA}", _LONGEST))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    return {_plain(key): _plain(value) for key, value in itertools.islice(said.items(), _MOST)}


def _plain(value: Any) -> str:
    # Half a surrogate pair is legal JSON that no file takes.
    return str(value).encode("utf-8", "replace").decode().replace("\0", "")
