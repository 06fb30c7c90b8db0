# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of a document on the laptop's disk: when two are one, and how today's gets an entry of its own."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from xo_client import durable, journal, rebuild, restore_plan, staging
from xo_client.restore_plan import Files

_OWN = ("metadata/uid", "metadata/title")  # what the second entry has for itself
_BLOCK = 1 << 20  # bytes


def files_of(entry: Path) -> Files:
    """Return the files of the document in the directory `entry`, as a listing would say them."""
    names = ["data"]
    with suppress(OSError):
        names += ["metadata/" + key for key in os.listdir(entry / "metadata")]
    return staging.regular(entry, [name for name in names if restore_plan.is_part(name)])


def is_same(one: Path, files: Files, other: Path, others: Files) -> bool:
    """Say whether two entries are one version: by sizes and times, and by their bytes where only times differ."""
    if restore_plan.is_same(files, others):
        return True
    if {name: size for name, (size, _) in files.items()} != {name: size for name, (size, _) in others.items()}:
        return False
    unlike = [name for name in files if files[name] != others[name]]
    return all(_has_same_bytes(one / name, other / name) for name in unlike)


def double(datastore: Path, uid: str, day: str, into: Path) -> tuple[Path, Path] | None:
    """Make a second entry of today's version of `uid`, under a new uid and title, below `into`.

    Return where it is made and where it belongs; None if the Journal has it from before. The new uid follows from the
    old one and from the version, so that doing it again makes no third. Raise OSError.
    """
    old = journal.place(datastore, uid)
    files = files_of(old)
    for attempt in range(1000):
        name = f"{uid} {restore_plan.fingerprint(files)} {attempt}"
        new_uid = str(uuid.uuid5(uuid.NAMESPACE_OID, name))
        target = journal.place(datastore, new_uid)
        if not os.path.lexists(target):
            break
        if _is_kept(old, files, target):
            return None
    else:
        raise OSError(errno.EEXIST, "no free uid", str(datastore))
    made = into / new_uid
    shutil.rmtree(made, ignore_errors=True)
    # The same files: Sugar never writes into one that is there.
    (made / "metadata").mkdir(parents=True)
    for name in _without_name(files):
        _link(old / name, made / name)
    write(made / "metadata" / "uid", new_uid.encode())
    title = rebuild.title(old) or "Untitled"
    write(made / "metadata" / "title", f"{title} ({day})".encode())
    durable.sync(made / "metadata")
    durable.sync(made)
    return made, target


def _is_kept(old: Path, files: Files, target: Path) -> bool:
    """Say whether the entry `target` has all of `old` but uid and title: as the same files, or byte for byte."""
    kept = files_of(target)
    if _without_name(files) != _without_name(kept):
        return False
    pairs = [(old / name, target / name) for name in _without_name(files)]
    return all(os.path.samefile(*pair) or _has_same_bytes(*pair) for pair in pairs)


def _has_same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            block = left.read(_BLOCK)
            if block != right.read(_BLOCK):
                return False
            if not block:
                return True


def _without_name(files: Files) -> dict[str, tuple[int, int]]:
    return {name: file for name, file in files.items() if name not in _OWN}


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EXDEV):
            raise
        shutil.copy2(source, target, follow_symlinks=False)
        durable.sync(target)


def write(path: Path, value: bytes) -> None:
    """Write a file, whole or not at all, and on the disk when this returns; raise OSError."""
    new = path.with_name("." + path.name)
    with new.open("wb") as file:
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
