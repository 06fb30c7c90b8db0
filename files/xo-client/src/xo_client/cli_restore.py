# SPDX-License-Identifier: GPL-3.0-or-later
"""`xo-restore`: get documents back from the school server, or list what there is."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from contextlib import contextmanager
from typing import Any, Iterator, Mapping

from xo_client import __version__, registration, restore, restore_plan, rsync, server, sugar
from xo_client.errors import Trouble, own_disk
from xo_client.progress import CANCELLED, NOT_DONE, Printer, Step, printer, speak_in_any_locale
from xo_client.registration import Registered
from xo_client.restore import Result, Wish
from xo_client.state import State

_SIGNALS = (signal.SIGTERM, signal.SIGINT)  # cancel
_OFFER = "offer"  # the record of backup.py: a restore that was done has answered it


def main(arguments: list[str] | None = None) -> int:
    """Do what the words say and return the exit code."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.day and not restore_plan.is_day(chosen.day):
        parser.error(f"{chosen.day[:20]!a} is not a day: write it like 2026-11-21")
    if chosen.json and not chosen.list:
        parser.error("--json goes with --list; for the progress of a restore there is --progress json")
    speak_in_any_locale()
    cancel = threading.Event()
    for one in _SIGNALS:
        signal.signal(one, lambda *_: cancel.set())
    state = State(sugar.profile())
    if chosen.list:
        return _list(state, cancel, as_json=chosen.json)
    when = chosen.day or (restore_plan.LATEST if chosen.latest else restore_plan.BEST)
    return _restore(state, Wish(when, chosen.missing, chosen.fit), printer(chosen.progress), cancel)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xo-restore",
        description="Get your documents back from the school server. What is only on this laptop stays. A document "
        "that is different comes back as it was, and today's stays beside it under another title.",
    )
    parser.add_argument("--version", action="version", version=f"xo-restore {__version__}")
    parser.add_argument("--missing", action="store_true", help="only documents that the Journal does not have at all")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--day", metavar="YYYY-MM-DD", help="as it was on that day, or the last backup before it")
    when.add_argument("--latest", action="store_true", help="as the last backup was, even if an older one is better")
    parser.add_argument("--fit", action="store_true", help="where there is no room for all: the newest that fit")
    parser.add_argument("--list", action="store_true", help="list what the school server has, and do nothing")
    parser.add_argument("--json", action="store_true", help="list as JSON")
    parser.add_argument("--progress", choices=["bar", "json", "none"], default="bar")
    return parser


def _restore(state: State, wish: Wish, tell: Printer, cancel: threading.Event) -> int:
    try:
        with state.alone(), own_disk():
            tell.step(Step("ask", 0, 0, 0, 0))
            with _ended_by_a_signal(cancel):
                at = _registered(state)
                history = server.ask(state, at, "history")
            engine = restore.Restore(state, rsync.Remote(server.ssh(state, at)), tell, cancel)
            try:
                result = engine.run(history, wish)
            except Trouble as trouble:
                if trouble.reason == "nothing" and _is_pending(state, at):
                    raise Trouble("pending") from trouble
                raise
            state.forget(_OFFER)
            pending = not result.restored and _is_pending(state, at)
    except restore.NoRoom as trouble:
        return tell.failed(trouble, fits=trouble.fits, documents=trouble.documents)
    except Trouble as trouble:
        return tell.failed(trouble)
    left = [one._asdict() for one in result.left]
    if pending:
        return tell.failed(Trouble("pending"), left=left)
    return tell.done("done" if result.restored else "nothing", sentence(result), left=left)


@contextmanager
def _ended_by_a_signal(cancel: threading.Event) -> Iterator[None]:
    """Let a signal end at once what waits for the server: where the network is gone there is long no answer."""

    def end(*_: object) -> None:
        cancel.set()
        raise Trouble("cancelled")

    before = {one: signal.signal(one, end) for one in _SIGNALS}
    try:
        if cancel.is_set():
            raise Trouble("cancelled")
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _is_pending(state: State, at: Registered) -> bool:
    """Say whether a teacher has yet to say whose this laptop is: then there may be more than the laptop can see."""
    return bool(server.ask(state, at, "status").get("approval") == "pending")


def sentence(result: Result) -> str:
    """Return what a restore did, for a child."""
    if not result.restored:
        return "Your Journal has all that could be brought back." if result.left else "Your Journal has it all already."
    said = f"{_documents(result.restored)} back in your Journal."
    if result.kept:
        said += f" What you have changed since is there too, with the date in its title ({result.kept})."
    return said


def _documents(number: int) -> str:
    return "1 document is" if number == 1 else f"{number} documents are"


def _registered(state: State) -> Registered:
    return registration.registered(state) or registration.register(state, asked=False)


def _list(state: State, cancel: threading.Event, *, as_json: bool) -> int:
    try:
        with _ended_by_a_signal(cancel):
            at = _registered(state)
            approval = server.ask(state, at, "status").get("approval")
            history = server.ask(state, at, "history")
        missing = _missing(state, at, history, cancel)
    except Trouble as trouble:
        if as_json:
            print(json.dumps({"reason": trouble.reason, "message": trouble.message}))
        else:
            print(trouble.message, file=sys.stderr)
        return CANCELLED if trouble.reason == "cancelled" else NOT_DONE
    found = days(history)
    if as_json:
        print(json.dumps({"approval": approval, "days": found, "missing": missing}))
        return 0
    for one in found:
        count = "" if one["documents"] is None else f"  {one['documents']} documents"
        print(f"{one['day']}{count}{'  (best)' if one['best'] else ''}")
    if not found:
        print(Trouble("pending" if approval == "pending" else "nothing").message)
    elif missing is not None:
        print(f"{_documents(missing)} not in your Journal.")
    return 0


def _missing(state: State, at: Registered, history: Mapping[str, Any], cancel: threading.Event) -> int | None:
    """Return how many documents of the best snapshots the Journal does not have; None where that cannot be told."""
    try:
        remote = rsync.Remote(server.ssh(state, at))
        snapshots, _ = restore.contents(remote, history, restore_plan.BEST, cancel)
    except Trouble:
        return None
    return len(set(restore_plan.union(snapshots.values())) - set(restore.todays(sugar.datastore(state.profile))))


def days(history: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the days that have a snapshot, the newest first: with its newest, of the laptop's own tree if any."""
    found: dict[str, dict[str, Any]] = {}
    for tree in reversed(restore_plan.dicts(history.get("trees"))):
        counts = {str(one.get("stamp")): one for one in restore_plan.dicts(tree.get("snapshots"))}
        for stamp in restore_plan.stamps(tree):
            best = stamp == tree.get("best")
            before = found.get(stamp[:10], {})
            found[stamp[:10]] = {
                "day": stamp[:10], "stamp": stamp, "documents": counts[stamp].get("documents"),
                "bytes": counts[stamp].get("bytes"), "best": best or bool(before.get("best")),
            }  # fmt: skip
    return [found[day] for day in sorted(found, reverse=True)]
