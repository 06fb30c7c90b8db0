# SPDX-License-Identifier: GPL-3.0-or-later
"""One backup run: what the timer, the network and a child start.

Ask before sending, send only what is whole, say why not. All waiting is by the monotonic clock and all days are the
server's, because a laptop's own clock may say 1970.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Callable, NamedTuple

from xo_client import (
    conditions,
    journal,
    laptop,
    offer,
    registration,
    restore,
    restore_plan,
    rsync,
    server,
    sugar,
    words,
)
from xo_client.errors import Trouble, own_disk
from xo_client.registration import Registered
from xo_client.state import State

LAST, OUTCOME, OFFER, TOLD = "last", "outcome", "offer", "told"  # records in State
# The old client's flag under both names that are about; whoever removes one asks for a backup today.
FLAGS = ("ds-backup-done", "ds_backup-done")
_PASSES = 3  # over a Journal in which Sugar writes; each leaves a snapshot on the server
_QUIET_SECONDS = 30.0  # Sugar saves a document in a few
_LOOK_SECONDS = 1.0
_RULES = [f"- /{name}" for name in journal.CACHES]
_COMPLETION = "/var/lib/ds-backup/completion/"


class Sent(NamedTuple):
    """What is told while a backup is under way."""

    documents: int
    of_documents: int
    bytes: int
    of_bytes: int


Tell = Callable[[Sent], None]


def check(state: State) -> tuple[str, datetime]:
    """Return the server's name and time if a backup may start as far as this laptop knows; raise Trouble."""
    reason = conditions.why_not(laptop.facts(state.profile))
    if reason:
        raise Trouble(reason)
    host = registration.host(state)
    return host, server.time_now(host)


def is_done(state: State, now: datetime) -> bool:
    """Say whether today's backup is done; `now` is the server's time."""
    return conditions.is_done(state.read(LAST), now, flag=all((state.profile / name).exists() for name in FLAGS))


def once(state: State, *, anyway: bool, tell: Tell, cancel: threading.Event) -> bool:
    """Register if need be, ask, offer a restore where one is due, send, and write down that it is done; raise Trouble.

    `anyway`: the child knows that the server has more than the Journal, and does not want it back first. Return whether
    a person still has to say whose laptop this is.
    """
    with state.alone(), own_disk():
        restore.finish_interrupted(state)
        host, now = check(state)
        at = registration.registered(state) or registration.register(state, asked=False)
        answer = server.may_i(host, at.login)
        if answer.status == 403 and answer.reason != "retired":
            # The server was made anew, or forgot us: with the same key it is the same laptop, so say so once more.
            at = registration.register(state, asked=False)
            answer = server.may_i(host, at.login)
        refused = server.refusal(answer)
        if refused:
            raise refused
        remote = rsync.Remote(server.ssh(state, at))
        if anyway:
            state.forget(OFFER)
        else:
            _offer_first(state, server.ask(state, at, "history"), remote, now, cancel)
        send_journal(remote, sugar.datastore(state.profile), tell, cancel)
        _send_documents(remote, cancel)
        _end_run(remote, at)
        state.write(LAST, conditions.mark(now))
        for name in FLAGS:
            (state.profile / name).touch()
        return _is_pending(state, at)


def _is_pending(state: State, at: Registered) -> bool:
    try:
        return bool(server.ask(state, at, "status").get("approval") == "pending")
    except Trouble:  # the backup is done all the same
        return False


def _offer_first(
    state: State, history: dict[str, Any], remote: rsync.Remote, now: datetime, cancel: threading.Event
) -> None:
    """Raise Trouble (offer) where the server has much that the Journal lacks, and nobody has answered yet."""
    found = sum(1 for _ in journal.uids(sugar.datastore(state.profile)))
    counted = {}
    if offer.uncounted(history, found):
        snapshots, _ = restore.contents(remote, history, restore_plan.BEST, cancel)
        counted = {(source.tree, source.stamp): len(documents) for source, documents in snapshots.items()}
    due = offer.is_due(history, found, counted)
    if due is None:
        state.forget(OFFER)
        return
    record = {**state.read(OFFER), "documents": due.documents, "day": due.day}
    record = conditions.offers(record, conditions.day(now))
    state.write(OFFER, record)
    if conditions.is_patient(record):
        raise Trouble(
            "offer",
            f"The school server has {due.documents} documents of yours from {due.day}, and this laptop has {found}. "
            "Get them back first: Settings, Backup. If you do not want them, choose to back up now.",
        )


def send_journal(remote: rsync.Remote, datastore: Path, tell: Tell, cancel: threading.Event) -> None:
    """Send the Journal until each document in it stood still while it was sent; raise Trouble.

    Nothing is left out meanwhile: what the server has of a document may be half of it, from a run that was cut off.
    """
    for _ in range(_PASSES):
        before = _when_whole(datastore, cancel)
        number, whole = len(before), sum(one.bytes for one in before.values())

        def progress(sent: int, number: int = number, whole: int = whole) -> None:
            tell(Sent(min(number, number * sent // max(whole, 1)), number, min(sent, whole), whole))

        progress(0)
        rsync.push(remote, datastore, "datastore-current", rules=_RULES, cancel=cancel, progress=progress)
        if all(before.get(uid) == one for uid, one in journal.entries(datastore).items()):
            tell(Sent(number, number, whole, whole))
            return
    raise Trouble("moving")


def _when_whole(datastore: Path, cancel: threading.Event) -> dict[str, journal.Entry]:
    """Return the documents once Sugar has ended what it was saving; raise Trouble (moving) where that takes long."""
    end = time.monotonic() + _QUIET_SECONDS
    while True:
        found = journal.entries(datastore)
        if not journal.in_flux(found, time.time()):
            return found
        if time.monotonic() > end:
            raise Trouble("moving")
        if cancel.wait(_LOOK_SECONDS):
            raise Trouble("cancelled")


def _send_documents(remote: rsync.Remote, cancel: threading.Event) -> None:
    """Send the folder of plain files too, where there is one with anything in it."""
    folder = _documents()
    try:
        if folder and any(folder.iterdir()):
            rsync.push(remote, folder, "documents", cancel=cancel)
    except (PermissionError, Trouble) as trouble:
        # One file of another owner must not make the laptop send its Journal again every half an hour, for ever.
        if isinstance(trouble, Trouble) and trouble.reason != "partly":
            raise
        print(f"some of {folder} could not be read, and was not sent", file=sys.stderr)


def _documents() -> Path | None:
    try:
        ended = subprocess.run(["xdg-user-dir", "DOCUMENTS"], stdout=subprocess.PIPE, check=False, timeout=10)
        folder = Path(os.fsdecode(ended.stdout).strip() or "/")
    except (OSError, subprocess.TimeoutExpired):
        folder = Path.home() / "Documents"
    # Without a folder of its own xdg-user-dir names the home directory: that is not for the server.
    return folder if folder.is_dir() and folder.parent != folder and folder != Path.home() else None


def _end_run(remote: rsync.Remote, at: Registered) -> None:
    """Say that the run is over, as old clients do: the server then gives the place to another laptop at once."""
    try:
        with tempfile.NamedTemporaryFile() as flag:
            rsync.hand_over(remote, Path(flag.name), _COMPLETION + at.login)
    except Trouble:  # the place is free after a while in any case
        return


def note(state: State, trouble: Trouble | None, *, pending: bool = False) -> None:
    """Write down how a run ended, for `xo-backup status`, and tell the child where only a person can go on.

    `pending`: a teacher has to say whose laptop this is; the run itself does not suffer from it.
    """
    reason = trouble.reason if trouble else "done"
    message = trouble.message if trouble else words.SENTENCES["done"]
    try:
        state.write(OUTCOME, {"reason": reason, "message": message})
        asks = words.SENTENCES["pending"] if pending else message if reason in words.FOR_A_PERSON else ""
        # Once for each thing, and again only after it was no longer so.
        if asks and state.read(TOLD).get("message") != asks:
            if sugar.notify(asks):
                state.write(TOLD, {"message": asks})
        elif reason == "done" and not asks:
            state.forget(TOLD)
    except Trouble:  # no profile, or its disk is full: the log has it
        return


def status(state: State) -> dict[str, Any]:
    """Return what is known without asking the server: the last success, the last outcome, who this laptop is."""
    at = registration.registered(state)
    last = state.read(LAST).get("at")
    return {
        "protocol": 1,
        "login": at.login if at else None,
        "host": registration.host(state),
        "last": last if isinstance(last, str) else None,
        "outcome": state.read(OUTCOME) or None,
        "offer": state.read(OFFER) or None,
    }
