# SPDX-License-Identifier: GPL-3.0-or-later
"""What the disk did not give back when a snapshot was taken: said, noted for `xs status`, and sent again.

    unreadable.json in the tree: {"datastore-current/02/<uid>/data": "2026-11-23T101500Z"}

The note is of the newest snapshots: one that could be taken whole ends it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from schoolserver import durable
from schoolserver.engines import Kind, Place

FILE = "unreadable.json"


def settle(tree: Path, kind: Kind, stamp: str, unread: Sequence[Place]) -> None:
    """Say and note that `unread` is not in the snapshot `stamp` as it was sent, and remove it from incoming.

    rsync sends a file only where size or time differ; so it is sent again, and lands on other sectors. Only once the
    snapshot has its name, on the disk: one that is taken again must find the same. Raise OSError.
    """
    noted = read(tree)
    others = {path: when for path, when in noted.items() if not path.startswith(f"{kind.incoming}/")}
    now = others | {"/".join((kind.incoming, *place)): stamp for place in unread}
    if unread:
        such_as = "/".join((kind.incoming, *unread[0]))
        print(
            f"{tree.name}: {stamp}: {len(unread)} files or directories cannot be read any more, such as {such_as!a}: "
            "taken as in the snapshot before, or left out; the laptop is asked to send them again: look at the disk",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    if now != noted:
        durable.replace(tree / FILE, json.dumps(now, indent=1) + "\n", 0o640, tree.stat().st_gid)
    for place in unread:
        _remove(tree / kind.incoming, place)


def read(tree: Path) -> dict[str, str]:
    """Return {path in the tree: stamp of the snapshot that lacks it}; nothing where the note is damaged."""
    try:
        said = json.loads((tree / FILE).read_text(encoding="utf-8"))
        return {str(path): str(stamp) for path, stamp in said.items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return {}


def _remove(incoming: Path, place: Place) -> None:
    """Remove the file at `place` below `incoming`; a directory stays, because only a repair of the disk helps there."""
    with (
        _directory(str(incoming), None) as top,
        _directory_at(top, place[:-1]) as directory,
        suppress(IsADirectoryError, FileNotFoundError),
    ):
        os.unlink(place[-1], dir_fd=directory)


@contextmanager
def _directory_at(top: int, names: Sequence[str]) -> Iterator[int]:
    if not names:
        yield top
        return
    with _directory(names[0], top) as below, _directory_at(below, names[1:]) as directory:
        yield directory


@contextmanager
def _directory(name: str, parent: int | None) -> Iterator[int]:
    # The learner owns these directories: a link put in one's place must not lead root to another's files.
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
