# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting checked documents into the Journal, so that a kill or a power cut at any moment loses nothing.

Before the first change a record says what is being moved; whoever starts next finishes it (`finish`). At each moment
each document is wholly the old one or wholly the new one, and today's version of one that changes has its place under a
new uid before the other takes over.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, NamedTuple

from xo_client import journal, rebuild, restore_plan, versions
from xo_client.datastore_service import Service
from xo_client.errors import Trouble
from xo_client.restore_plan import Left
from xo_client.state import State

RECORD = "moving"
_FIELDS = {"work", "datastore", "missing_only", "day", "places", "wanted"}
_LAYOUT = "6"  # of the datastore; Sugar makes it anew where it is missing, and takes its absence for layout 0
_KEPT = "kept"  # where today's versions are made ready, in the staging directory
_ASIDE = "-aside"  # ends the name of the directory, beside the staging one, for what Sugar would delete
_STARTS = 5  # of the datastore service by somebody else, while documents are moved
_EXCHANGE, _AT_FDCWD = 2, -100  # of renameat2(2), Linux


class Moved(NamedTuple):
    """What became of the documents."""

    restored: int
    kept: int  # versions of today that have a place of their own now
    left: list[Left]  # what could not be moved in, and today's that Sugar would have deleted


def move_in(
    state: State,
    datastore: Path,
    work: Path,
    places: dict[str, str],
    *,
    missing_only: bool,
    day: str,
    service: Service,
    progress: Callable[[int], None],
) -> Moved:
    """Put the entries at `places` ({uid: directory below `work`}) into the Journal; raise Trouble.

    `day` goes into the title of today's versions. Trouble that comes before anything was changed leaves the Journal as
    it was; later trouble, such as a disk that fails, leaves the record for the next start.
    """  # fmt: skip
    _sync(work)
    with service.stopped(datastore):
        taken = [uid for uid in places if os.path.lexists(journal.place(datastore, uid))]
        wanted = {uid: restore_plan.fingerprint(versions.files_of(work / places[uid])) for uid in taken}
        state.write(RECORD, {
            "work": str(work), "datastore": str(datastore), "missing_only": missing_only, "day": day,
            "places": places, "wanted": wanted,
        })  # fmt: skip
        _sync(state.top)
        return _finish(state, service, progress)


def finish(state: State, service: Service) -> bool:
    """Finish what a kill or a power cut stopped; say whether there was anything. Raise Trouble."""
    record = state.read(RECORD)
    if not set(record) >= _FIELDS:  # of another version of this program, if any: nothing of today's depends on it
        state.forget(RECORD)
        return False
    with service.stopped(Path(str(record["datastore"]))):
        _finish(state, service, lambda _done: None)
    return True


def _finish(state: State, service: Service, progress: Callable[[int], None]) -> Moved:
    record = state.read(RECORD)
    datastore, work = Path(str(record["datastore"])), Path(str(record["work"]))
    try:
        left = _put_aside(datastore, _aside(work))
        _remove_caches(datastore)
        restored = kept = 0
        for number, (uid, place) in enumerate(sorted(record["places"].items()), 1):
            try:
                did = _place(datastore, work, uid, work / place, record)
            except OSError as error:  # a folder that is somebody else's, say; it must not hold the others up for ever
                why = f"it could not be put into the Journal: {error.strerror}"
                left.append(Left(uid, rebuild.title(work / place), why))
                continue
            restored += did[0]
            kept += did[1]
            progress(number)
        _write_version(datastore)
        _sync(datastore)
        for _ in range(_STARTS):
            _remove_caches(datastore)
            if not service.stop():
                break
        state.forget(RECORD)
        _sync(state.top)
        shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise Trouble("disk") from error
    return Moved(restored, kept, left)


def _place(datastore: Path, work: Path, uid: str, new: Path, record: dict[str, Any]) -> tuple[int, int]:
    """Put one entry in its place; return how many were restored and how many of today's were kept: 0 or 1 each.

    Done again after an interruption it does only what is left to do.
    """
    if not os.path.lexists(new):
        return 0, 0  # it is in the Journal already
    old = journal.place(datastore, uid)
    _make_drawer(old.parent, work)
    if not os.path.lexists(old):
        os.rename(new, old)
        return 1, 0
    if not _is_entry(old):  # nothing that Sugar made
        os.rename(old, _free(_aside(work) / uid))
        os.rename(new, old)
        return 1, 0
    wanted, today = versions.files_of(new), versions.files_of(old)
    if restore_plan.fingerprint(wanted) != record["wanted"].get(uid):
        return 0, 0  # it is in the Journal already, and what is here had to give way; or today's came meanwhile
    if today and (record["missing_only"] or versions.is_same(new, wanted, old, today)):
        return 0, 0
    # One without files is what Sugar leaves for a moment while it deletes.
    doubled = versions.double(datastore, uid, str(record["day"]), work / _KEPT) if today else None
    if doubled:
        made, target = doubled
        _make_drawer(target.parent, work)
        os.rename(made, target)
    _exchange(new, old)
    return 1, 1 if doubled else 0


def _exchange(new: Path, old: Path) -> None:
    """Let two directories change places in one step where the file system can, else in two.

    Between two steps Sugar, just started by somebody, could meet an entry without properties and delete it.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 and renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _EXCHANGE) == 0:
        return
    aside = new.with_name(new.name + ".old")
    os.rename(old, aside)
    try:
        os.rename(new, old)
    except OSError:
        os.rename(aside, old)
        raise


def _put_aside(datastore: Path, aside: Path) -> list[Left]:
    """Move today's entries that Sugar would delete out of its way, and mend those that only lack a time."""
    left = []
    for uid in list(journal.uids(datastore)):
        entry = journal.place(datastore, uid)
        with suppress(OSError):  # what cannot be moved, Sugar cannot delete either
            if not _is_entry(entry) or not os.listdir(entry):
                continue
            rebuild.complete(entry)
            why = rebuild.will_delete(entry)
            if why:
                title = rebuild.title(entry)
                os.rename(entry, _free(aside / uid))
                left.append(Left(uid, title, f"it is broken on this laptop ({why}), and was set aside"))
    return left


def _aside(work: Path) -> Path:
    return work.with_name(work.name + _ASIDE)


def _free(path: Path) -> Path:
    """Return `path`, or one like it that is free; its folder is there afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found, number = path, 1
    while os.path.lexists(found):
        found, number = path.with_name(f"{path.name}.{number}"), number + 1
    return found


def _make_drawer(drawer: Path, work: Path) -> None:
    if os.path.lexists(drawer) and not _is_entry(drawer):
        os.rename(drawer, _free(_aside(work) / drawer.name))
    drawer.mkdir(parents=True, exist_ok=True)  # a Journal that Sugar has never opened is not there at all


def _is_entry(path: Path) -> bool:
    """Say whether `path` is a directory and no link to one."""
    return path.is_dir() and not path.is_symlink()


def _remove_caches(datastore: Path) -> None:
    for name in journal.CACHES:
        path = datastore / name
        if _is_entry(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def _write_version(datastore: Path) -> None:
    if not (datastore / "version").exists():
        versions.write(datastore / "version", _LAYOUT.encode())


def _sync(path: Path) -> None:
    """Return when all of the file system of `path` is on the disk: twenty files a document are too many for fsync."""
    if path.exists() and subprocess.run(["sync", "--file-system", str(path)], check=False).returncode:
        os.sync()
