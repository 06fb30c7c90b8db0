# SPDX-License-Identifier: GPL-3.0-or-later
"""Setting aside what left the Journal, so that rotation needs to know nothing of documents (DESIGN.md section 5).

keepsakes/<uid>/<stamp>/ holds data and metadata/ as the snapshot <stamp>, the last that had the document, holds them.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from schoolserver import copying, datastore, pins
from schoolserver.errors import Refusal
from schoolserver.pins import BULK_LOSS, KEEPSAKES, Pins
from schoolserver.stamps import is_stamp

DIRECTORY = "keepsakes"
MOST_AT_ONCE = 50  # above this, one pinned snapshot is cheaper than its documents one by one
BULK_FROM = 10  # documents; a smaller Journal loses more than half of itself in an ordinary lesson

Sync = Callable[[Path], None]


@dataclass(frozen=True)
class Decision:
    """What to do about the documents that left since a snapshot."""

    keepsakes: frozenset[str]  # uids to set aside
    pin: frozenset[str]  # reasons to pin that snapshot
    documents: int  # how many left


def left(previous: Mapping[str, bool], new: Mapping[str, bool]) -> frozenset[str]:
    """Given {uid: whether it has data} of two snapshots in a row, return the uids that left.

    One whose data went counts as well: Sugar has no way to take data from an entry that stays, so a deletion is under
    way, and the next run would find only its remains to set aside.
    """
    return frozenset(uid for uid, data in previous.items() if uid not in new or (data and not new[uid]))


def decide(previous: Mapping[str, bool], new: Mapping[str, bool]) -> Decision:
    """Given {uid: whether it has data} of the snapshot before and of the new one, return what to do."""
    gone = left(previous, new)
    many = len(gone) > MOST_AT_ONCE
    bulk = len(previous) >= BULK_FROM and 2 * len(gone) > len(previous)
    reasons = {KEEPSAKES} if many else set()
    return Decision(frozenset() if many else gone, frozenset(reasons | ({BULK_LOSS} if bulk else set())), len(gone))


def after_run(tree: Path, previous: str, new: Path, stamp: str, sync: Sync) -> None:
    """Set aside what left between the snapshot `previous` and the one at `new`, to be named `stamp`; raise OSError.

    `sync(directory)` flushes the file system; a last one is left to the caller. Doing all this twice does no harm.
    """
    kept = wanted = _pins(tree, stamp)
    decision = Decision(frozenset(), frozenset(), 0)
    reasons = decision.pin
    try:
        before, now = datastore.entries(tree / "datastore" / previous), datastore.entries(new)
        decision = decide(before, now)
        reasons = decision.pin
        set_aside(tree, previous, sorted(decision.keepsakes), sync)
    except OSError as error:
        # A read error, a full disk, or more than we read: the pinned snapshot holds the same documents, at no cost.
        print(f"{tree.name}: pinned {previous} instead of keepsakes: {error}", file=sys.stderr, flush=True)
        reasons |= {KEEPSAKES}
        with suppress(OSError):  # what was begun would take room on a full disk until the next start
            remove_leftovers(tree)
    for reason in reasons:
        wanted = pins.add(wanted, previous, reason, decision.documents, stamp)
    if wanted != kept:
        pins.write(tree, wanted)


def release_returned(tree: Path, stamp: str) -> None:
    """Release what after_run() pinned and what has come back with the snapshot `stamp`; raise OSError.

    Only once that one has its name, on the disk: until then the pinned snapshot holds the last copies.
    """
    kept = _pins(tree, stamp)
    if not any(pin.why & {KEEPSAKES, BULK_LOSS} for pin in kept.values()):
        return
    try:
        now = datastore.entries(tree / "datastore" / stamp)
    except OSError:
        return  # what cannot be compared stays pinned
    wanted = _without_returned(tree, kept, now)
    if wanted != kept:
        pins.write(tree, wanted)


def set_aside(tree: Path, stamp: str, uids: list[str], sync: Sync) -> None:
    """Make keepsakes/<uid>/<stamp> from the snapshot `stamp`, each whole or not at all; raise OSError.

    One sync between making and naming them, instead of one for each file: it is what makes a thousand affordable.
    """
    made = [uid for uid in uids if not (tree / DIRECTORY / uid / stamp).exists()]
    for uid in made:
        _make(tree, stamp, uid)
    if made:
        sync(tree)
    for uid in made:
        _temporary(tree, uid, stamp).rename(tree / DIRECTORY / uid / stamp)


def put_out_of_sight(tree: Path, uid: str, stamp: str) -> None:
    """Make the keepsake of `uid` with this `stamp` none any more; remove_leftovers() takes it away; raise OSError.

    So an interrupted removal leaves no part of a document that looks like a whole one.
    """
    kept = tree / DIRECTORY / uid
    (kept / stamp).rename(kept / f".{stamp}.going")


def remove_leftovers(tree: Path) -> None:
    """Remove what has no keepsake's name: what set_aside() or a removal left when interrupted; raise OSError."""
    for uid in _names(tree / DIRECTORY):
        names = _names(tree / DIRECTORY / uid)
        for name in names:
            if not is_stamp(name):
                shutil.rmtree(tree / DIRECTORY / uid / name)
        if not any(map(is_stamp, names)):
            (tree / DIRECTORY / uid).rmdir()


def every(tree: Path) -> Iterator[tuple[str, str]]:
    """Yield (uid, stamp) of every keepsake of the tree, in order."""
    for uid in _names(tree / DIRECTORY):
        if datastore.is_uid(uid):
            for stamp in _names(tree / DIRECTORY / uid):
                if is_stamp(stamp):
                    yield uid, stamp


def _pins(tree: Path, since: str) -> Pins:
    try:
        return pins.read(tree)
    except Refusal as refusal:
        # Backups go on, and nothing goes that may have been pinned: a person looks through them and releases.
        print(refusal, file=sys.stderr, flush=True)
        everything: Pins = {}
        for stamp in datastore.snapshots(tree):
            everything = pins.add(everything, stamp, pins.DAMAGED, 0, since)
        pins.write(tree, everything)
        return everything


def _without_returned(tree: Path, kept: Pins, now: Mapping[str, bool]) -> Pins:
    # A pin made here ends when its reason does. The comparison is with the whole pinned snapshot, so nothing has to be
    # remembered that a crash could tear apart.
    wanted = kept
    for stamp, pin in kept.items():
        if not pin.why & {KEEPSAKES, BULK_LOSS} or not (tree / "datastore" / stamp).is_dir():
            continue
        try:
            then = datastore.entries(tree / "datastore" / stamp)
        except OSError:
            continue  # what cannot be compared stays pinned
        missing = left(then, now)
        if 2 * len(missing) <= len(then):
            wanted = pins.release(wanted, stamp, BULK_LOSS)
        if all(_kept_since(tree, uid, stamp) for uid in missing):
            wanted = pins.release(wanted, stamp, KEEPSAKES)
    return wanted


def _kept_since(tree: Path, uid: str, stamp: str) -> bool:
    return any(is_stamp(name) and name >= stamp for name in _names(tree / DIRECTORY / uid))


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def _temporary(tree: Path, uid: str, stamp: str) -> Path:
    return tree / DIRECTORY / uid / f".{stamp}.new"


def _make(tree: Path, stamp: str, uid: str) -> None:
    temporary = _temporary(tree, uid, stamp)
    if temporary.exists():
        shutil.rmtree(temporary)
    for directory in (tree / DIRECTORY, temporary.parent, temporary):
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)  # whatever the unit's umask: the Journal page reads keepsakes
    with datastore.entry_in(tree / "datastore" / stamp, uid) as entry:
        copying.entry(entry, temporary)
