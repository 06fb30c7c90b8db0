# SPDX-License-Identifier: GPL-3.0-or-later
"""Made-up trees and Journals for the archive's tests."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from schoolserver import engines, rotation
from schoolserver.engines import DATASTORE
from schoolserver.rotation_plan import Verdict
from schoolserver.rotation_trees import TreePlan

PNG = b"\x89PNG\r\n\x1a\n" + b"made-up picture"
START = datetime(2026, 11, 23, 10, 15, tzinfo=UTC)
LEARNER = 20000


def uid(number: int) -> str:
    """Return the uid of made-up document `number`; drawers are shared by some of them."""
    return f"{number % 7:02x}abcdef-0000-4000-8000-{number:012x}"


def make_tree(users: Path, name: str = "SHC12345678", learner: int = LEARNER) -> Path:
    """Make a tree as the registrar does, with an empty incoming, owned by the uid `learner`."""
    tree = users / name
    tree.mkdir(parents=True)
    for directory in ("datastore", "keepsakes", ".state"):
        (tree / directory).mkdir()
    for kind in engines.KINDS:
        engines.of(tree).make_incoming(tree / kind.incoming, learner, kind)
    incoming = tree / "datastore-current"
    (incoming / "version").write_text("6")
    (incoming / "index_updated").touch()
    (tree / ".state").chmod(0o700)
    os.chown(tree / ".state", learner, learner)
    return tree


def write_document(
    datastore: Path, name: str, data: bytes | None = b"words", when: int = 1_790_000_000, **properties: str | bytes
) -> None:
    """Write one Journal entry as Sugar's datastore service does, files dated `when`."""
    entry = datastore / name[:2] / name
    (entry / "metadata").mkdir(parents=True, exist_ok=True)
    given: dict[str, str | bytes] = {
        "uid": name,
        "title": f"Story {name[-2:]}",
        "activity": "org.laptop.AbiWordActivity",
        "mime_type": "text/plain",
        "timestamp": str(when),
        **properties,
    }
    written = [(entry / "metadata" / key, value) for key, value in given.items()]
    if data is not None:
        written.append((entry / "data", data))
    for path, value in written:
        path.write_bytes(value.encode() if isinstance(value, str) else value)
        os.utime(path, (when, when))


def remove_document(datastore: Path, name: str) -> None:
    """Remove one Journal entry as rsync --delete does."""
    shutil.rmtree(datastore / name[:2] / name)


def end_run(tree: Path) -> None:
    """Leave the mark of a completed run, as the gate does."""
    (tree / ".state" / "complete").touch()


def rotate_out(tree: Path, catalog_file: Path, *stamps: str) -> None:
    """Remove these snapshots of the datastore as rotation does."""
    plan = TreePlan(tree, {DATASTORE: [Verdict(stamp, False, "test") for stamp in stamps]})
    assert tuple(rotation.apply(plan, catalog_file)) == stamps


def clear(top: Path) -> None:
    """Remove `top`, in which the directory `users` holds trees, with all subvolumes in it."""
    for tree in (top / "users").glob("*"):
        for kind in engines.KINDS:
            for path in (tree / kind.incoming, *(tree / kind.snapshots).glob("*")):
                engines.of(tree).remove(path)
    shutil.rmtree(top)


def contents(directory: Path) -> dict[str, bytes]:
    """Return {relative path: bytes} of every regular file below `directory`."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def day(number: int) -> datetime:
    """Return the time of day `number` of the made-up school."""
    return START + timedelta(days=number)
