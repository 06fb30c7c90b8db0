# SPDX-License-Identifier: GPL-3.0-or-later
"""Which documents a Sugar datastore (PROTOCOL.md section 6) holds, that a hostile laptop may have written."""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from schoolserver import layout0, opening
from schoolserver.entries import MOST_PROPERTIES, Entry
from schoolserver.names import UUID
from schoolserver.opening import TooMany
from schoolserver.stamps import is_stamp

_DRAWER = re.compile(r"[0-9a-f]{2}", re.ASCII)  # a directory of entries whose uids begin like this
MOST_DOCUMENTS = 20_000  # of one Journal, and names in one drawer: ten times what a laptop can list


def is_uid(name: str) -> bool:
    """Say whether `name` can be a document's uid."""
    # Sugar names entries by uuid4 (carquinyol datastore.create); its own find_all() looks at the lengths 2 and 36 only.
    return UUID.fullmatch(name) is not None


def trees(users: Path) -> list[Path]:
    """Return the directories of all trees below `users`, by name; none before the first laptop registered."""
    try:
        found = sorted(users.iterdir())
    except FileNotFoundError:
        return []
    named = [tree for tree in found if not tree.name.startswith(".")]  # those are being made, or deleted
    return [tree for tree in named if (tree / "datastore").is_dir() and not tree.is_symlink()]


def snapshots(tree: Path, directory: str = "datastore") -> list[str]:
    """Return the stamps of the tree's finished snapshots in `directory`, oldest first."""
    try:
        return sorted(name for name in os.listdir(tree / directory) if is_stamp(name))
    except FileNotFoundError:
        return []


def entries(snapshot: Path) -> dict[str, bool]:
    """Return {uid: whether it has data} of every document in the read-only snapshot at `snapshot`.

    An entry directory that holds no property is none: Sugar leaves such a one for a moment while it deletes. Raise
    TooMany when there are more than MOST_DOCUMENTS.
    """
    found: dict[str, bool] = {}
    with opening.opened(None, str(snapshot)) as top:
        if layout0.is_layout0(top):
            with opening.opened(top, layout0.STORE) as store:
                found = layout0.entries(store, MOST_DOCUMENTS)
            return {name: data for name, data in found.items() if is_uid(name)}
        for drawer in opening.directories(top, MOST_DOCUMENTS):
            if not _DRAWER.fullmatch(drawer):
                continue
            with opening.opened(top, drawer) as descriptor:
                for uid in opening.directories(descriptor, MOST_DOCUMENTS):
                    if uid[:2] == drawer and is_uid(uid):
                        _add(found, descriptor, uid)
                    if len(found) > MOST_DOCUMENTS:
                        raise TooMany(f"more than {MOST_DOCUMENTS} documents")
    return found


def touched(old: Path, new: Path, paths: list[str]) -> set[str] | None:
    """Return the uids that may differ between two snapshots; None if that cannot be told by their layout.

    `paths` is what engines' changed() says. Raise OSError.
    """
    for snapshot in (old, new):
        with opening.opened(None, str(snapshot)) as top:
            if layout0.is_layout0(top):
                return None
    names = {parts[1] for parts in (path.split("/", 2) for path in paths) if len(parts) > 1}
    return {name for name in names if is_uid(name)}


def entries_of(snapshot: Path, uids: set[str]) -> dict[str, bool]:
    """Return what entries() says of `uids` alone, of a datastore that is not of layout 0."""
    found: dict[str, bool] = {}
    with opening.opened(None, str(snapshot)) as top:
        for uid in uids:
            with suppress(FileNotFoundError, NotADirectoryError), opening.opened(top, uid[:2]) as drawer:
                if stat.S_ISDIR(os.stat(uid, dir_fd=drawer, follow_symlinks=False).st_mode):
                    _add(found, drawer, uid)
    return found


@contextmanager
def entry_in(snapshot: Path, uid: str) -> Iterator[Entry]:
    """Open the entry of `uid` in the snapshot at `snapshot`; raise OSError if it is not there."""
    with opening.opened(None, str(snapshot)) as top:
        if layout0.is_layout0(top):
            with opening.opened(top, layout0.STORE) as store:
                layout0.check(store, uid)
                yield Entry(store, uid)
            return
        with opening.opened(top, uid[:2]) as drawer, opening.opened(drawer, uid) as descriptor:
            yield Entry(descriptor)


@contextmanager
def entry_at(directory: Path) -> Iterator[Entry]:
    """Open a keepsake's directory as an entry; raise OSError if it is not there."""
    with opening.opened(None, str(directory)) as descriptor:
        yield Entry(descriptor)


def _add(found: dict[str, bool], drawer: int, uid: str) -> None:
    with opening.opened(drawer, uid) as descriptor:
        try:
            with opening.opened(descriptor, "metadata") as metadata, os.scandir(metadata) as listing:
                some = itertools.islice(listing, MOST_PROPERTIES + 1)
                if not any(item.is_file(follow_symlinks=False) for item in some):
                    return
        except OSError:
            return
        found[uid] = opening.status_of_file(descriptor, "data") is not None
