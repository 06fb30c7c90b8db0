# SPDX-License-Identifier: GPL-3.0-or-later
"""One restore: ask what there is, plan, fetch beside the Journal, look at it, and only then move it in.

Until the last step the Journal is not touched, so a cancel, a kill, a full disk or a network that is gone leaves it as
it was; what was fetched stays for the next try, but after a cancel.
"""

from __future__ import annotations

import bisect
import os
import shutil
import threading
import time
from itertools import accumulate
from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from xo_client import journal, move_in, restore_plan, rsync, sugar
from xo_client.datastore_service import Service
from xo_client.errors import Trouble
from xo_client.progress import Printer, Step, megabytes
from xo_client.restore_plan import Document, Files, Left, Source
from xo_client.staging import Staging
from xo_client.state import State

_OFTEN = 0.1  # seconds between two steps that are told


class Wish(NamedTuple):
    """What a child wants back."""

    when: str = restore_plan.BEST  # or LATEST, or a day
    missing_only: bool = False
    fit: bool = False  # where there is no room for all: the newest that fit


class Result(NamedTuple):
    """What a restore did."""

    restored: int
    kept: int  # versions of today that stand beside what came back
    left: list[Left]  # what did not come back, and what was set aside
    day: str


class NoRoom(Trouble):
    """There is not enough room; says what would fit."""

    def __init__(self, fits: int, documents: int, short: int) -> None:
        first = f"{documents} documents are to come back, and there is room for {fits} on this laptop"
        super().__init__(
            "room",
            f"{first} ({megabytes(short)} more are needed). First back up now, so that the school server has all that "
            "is on this laptop. Then get back the newest that fit. Or delete documents that you do not need here, for "
            "the server keeps them, and try again.",
        )
        self.fits, self.documents, self.short = fits, documents, short


def finish_interrupted(state: State) -> bool:
    """Finish a restore that was killed while it moved documents in; say whether there was one. Raise Trouble.

    Whoever backs up or restores calls it first, and holds the lock: a Journal half moved in is no Journal to back up.
    """
    return move_in.finish(state, Service(state.profile))


def contents(
    remote: rsync.Remote, history: Mapping[str, Any], when: str, cancel: threading.Event
) -> tuple[dict[Source, dict[str, Document]], list[Left]]:
    """Return the documents of the snapshots that `when` means, tree by tree, and what cannot be brought back.

    Raise Trouble.
    """
    found, left = {}, []
    for source in restore_plan.sources(history, when):
        listed, all_of_it = rsync.listing(remote, source.path, cancel)
        found[source], damaged = restore_plan.documents(source, listed)
        left += damaged
        if not all_of_it:
            left.append(Left("", "Some documents", "the school server could not read them. Please tell your teacher"))
    return found, left


def todays(datastore: Path) -> dict[str, Files]:
    """Return the files of each document in the Journal."""
    found = {uid: restore_plan.files_of(entry) for uid, entry in journal.entries(datastore).items()}
    return {uid: files for uid, files in found.items() if files}


class Restore:
    """One restore of the Journal of a profile. The caller holds the lock."""

    def __init__(self, state: State, remote: rsync.Remote, tell: Printer, cancel: threading.Event) -> None:
        self._state, self._remote, self._tell, self._cancel = state, remote, tell, cancel
        self._journal = sugar.datastore(state.profile)
        self._staging = Staging(state.top, self._journal)

    def run(self, history: Mapping[str, Any], wish: Wish) -> Result:
        """Bring back what `wish` says of what `history`, the server's answer, has; raise Trouble."""
        try:
            finish_interrupted(self._state)
            snapshots, damaged = contents(self._remote, history, wish.when, self._cancel)
            if not snapshots:
                raise Trouble("nothing")
            return self._bring_back(snapshots, damaged, wish)
        except Trouble as trouble:
            if trouble.reason == "cancelled":
                shutil.rmtree(self._staging.top, ignore_errors=True)
            raise
        except OSError as error:
            raise Trouble("disk") from error

    def _bring_back(
        self, snapshots: Mapping[Source, Mapping[str, Document]], damaged: Sequence[Left], wish: Wish
    ) -> Result:
        today, wanted = todays(self._journal), restore_plan.union(snapshots.values())
        plan = restore_plan.plan(wanted, today, missing_only=wish.missing_only)
        left = [one for one in damaged if one.uid not in wanted and one.uid not in today]
        day = max(source.stamp for source in snapshots)[:10]
        self._staging.prune(plan.fetch)
        fetch = _with_room(plan.fetch, self._staging, fit=wish.fit)
        chosen = {document.uid for document in fetch}
        size, kept = sum(one.bytes for one in fetch), len(plan.differing & chosen)
        self._tell.plan(documents=len(fetch), bytes=size, kept=kept, day=day)
        left += self._named([document for document in plan.fetch if document.uid not in chosen])
        if not fetch:
            shutil.rmtree(self._staging.top, ignore_errors=True)
            return Result(0, 0, left, day)
        counts = {source: len(found) for source, found in snapshots.items()}
        self._staging.fetch(self._remote, fetch, counts, self._cancel, self._fetched(fetch))
        checked = self._staging.check(fetch, self._cancel, _counted(self._tell, "check", len(fetch)))
        if self._cancel.is_set():
            raise Trouble("cancelled")
        moved = move_in.move_in(
            self._state, self._journal, self._staging.top, checked.places, missing_only=wish.missing_only,
            day=_today(day), service=Service(self._state.profile, self._cancel),
            progress=_counted(self._tell, "move", len(checked.places)),
        )  # fmt: skip
        return Result(moved.restored, moved.kept, [*left, *checked.left, *moved.left], day)

    def _fetched(self, documents: Sequence[Document]) -> Callable[[int], None]:
        """Return what tells of a number of bytes, and looks at the documents that they are; rsync sends in this order.

        So what a slow laptop has to look at costs no time of its own, where the network is slower still.
        """
        ends = list(accumulate(document.bytes for document in documents))
        whole, seen = ends[-1], 0

        def progress(sent: int) -> None:
            nonlocal seen
            number = bisect.bisect_right(ends, sent)
            self._tell.step(Step("fetch", number, len(ends), min(sent, whole), whole))
            named = max(number - 1, seen)  # the last of them may still be on its way to its name
            self._staging.look(documents[seen:named])
            seen = named

        progress(0)
        return progress

    def _named(self, no_room: Sequence[Document]) -> list[Left]:
        """Return what there is no room for, with titles: the child shall know what is missing."""
        titles = self._staging.titles(self._remote, no_room, self._cancel)
        why = "there is no room for it on this laptop"
        return [Left(document.uid, titles.get(document.uid, ""), why) for document in no_room]


def _with_room(fetch: Sequence[Document], staging: Staging, *, fit: bool) -> list[Document]:
    """Return what there is room for of `fetch`, in the order in which it comes.

    Raise NoRoom where that is not all and `fit` does not say that it need not be, or where it is nothing.
    """
    there = staging.there(fetch)
    staging.top.mkdir(mode=0o700, parents=True, exist_ok=True)
    disk = os.statvfs(staging.top)
    free = disk.f_bavail * disk.f_frsize
    fits = restore_plan.fitting(fetch, free, disk.f_frsize, there)
    if len(fits) < len(fetch) and not (fit and fits):
        needs = sum(max(one.room(disk.f_frsize) - there.get(one.uid, 0), 0) for one in fetch)
        raise NoRoom(len(fits), len(fetch), needs + restore_plan.RESERVE - free)
    return sorted(fits, key=lambda document: (document.source, document.uid))


def _today(day: str) -> str:
    """Return today's date for the titles of today's versions: a laptop's clock may say 1970, no snapshot is of then."""
    return max(time.strftime("%Y-%m-%d"), day)


def _counted(tell: Printer, phase: str, of_documents: int) -> Callable[[int], None]:
    """Return what tells of a number of documents, not too often."""
    last = 0.0

    def progress(number: int) -> None:
        nonlocal last
        if number == of_documents or time.monotonic() - last >= _OFTEN:
            last = time.monotonic()
            tell.step(Step(phase, number, of_documents, 0, 0))

    return progress
