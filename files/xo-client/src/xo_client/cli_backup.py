# SPDX-License-Identifier: GPL-3.0-or-later
"""`xo-backup`: run (the timer), now, status, why-not, register, self-check."""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import threading
from typing import Any

from xo_client import (
    __version__,
    apt,
    backoff,
    backup,
    conditions,
    publication,
    registration,
    self_check,
    server,
    sugar,
    update_record,
    words,
)
from xo_client.errors import Trouble
from xo_client.progress import CANCELLED, DONE, NOT_DONE, Printer, Step, printer, speak_in_any_locale
from xo_client.state import State

_RETRIED = frozenset({"busy", "full", "network", "moving"})  # within one run; all else waits for the next
_SERVERS_NO = frozenset({"busy", "full"})  # heard often enough, it is taken for the whole day
_GAVE_UP = "gave-up"  # record in State


def main(arguments: list[str] | None = None) -> int:
    """Do what the words say and return the exit code."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    speak_in_any_locale()
    cancel = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: cancel.set())
    state = State(sugar.profile())
    try:
        return int(chosen.act(state, chosen, cancel))
    except Trouble as trouble:
        print(trouble.message, file=sys.stderr)
        return CANCELLED if trouble.reason == "cancelled" else NOT_DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xo-backup", description="Back this laptop's Journal up on the school server."
    )
    parser.add_argument("--version", action="version", version=f"xo-backup {__version__}")
    acts = parser.add_subparsers(dest="verb", required=True)

    def verb(name: str, act: Any, text: str) -> argparse.ArgumentParser:
        made = acts.add_parser(name, help=text, description=text)
        made.set_defaults(act=act)
        return made

    verb("run", _run, "what the timer starts: once a day, when the school server is there")
    now = verb("now", _now, "back up now")
    now.add_argument("--anyway", action="store_true", help="even where the server has more than this Journal")
    now.add_argument("--progress", choices=["bar", "json", "none"], default="bar")
    for name, act, text in (
        ("status", _status, "when the last backup was, and what stands in the way"),
        ("why-not", _why_not, "why no backup is running now, and what to do"),
        ("register", _register, "register with the school server, as Sugar's menu does"),
        ("self-check", _self_check, "whether this version works here with the school server; changes nothing"),
    ):
        verb(name, act, text).add_argument("--json", action="store_true")
    return parser


def _run(state: State, _chosen: argparse.Namespace, cancel: threading.Event) -> int:
    """Wait for the turn of this laptop, back up, and come back as often as is polite."""
    try:
        _, now = backup.check(state)
    except Trouble as trouble:
        return _say(state, trouble)
    if backup.is_done(state, now) or state.read(_GAVE_UP).get("day") == conditions.day(now):
        return DONE
    if cancel.wait(backoff.spread(random.uniform)):
        return CANCELLED
    for attempt in range(1, backoff.ATTEMPTS + 1):
        stopped = _attempt(state, cancel)
        if stopped is None:
            return DONE
        if stopped.reason not in _RETRIED:
            return _say(state, stopped)
        seconds = backoff.wait(attempt, random.uniform, stopped.retry_after)
        if seconds is None:
            if stopped.reason in _SERVERS_NO:
                print(f"gave up for today after {attempt} attempts")
                state.write(_GAVE_UP, {"day": conditions.day(now)})
            return _say(state, stopped)
        print(f"{stopped.message} (attempt {attempt}; again in {seconds:.0f} s)", flush=True)
        if cancel.wait(seconds):
            return CANCELLED
    return DONE


def _attempt(state: State, cancel: threading.Event) -> Trouble | None:
    """Back up if today's is not done; return what stopped it."""
    try:
        _, now = backup.check(state)
        if not backup.is_done(state, now):
            pending = backup.once(state, anyway=False, tell=lambda _sent: None, cancel=cancel)
            backup.note(state, None, pending=pending)
            print("backed up")
    except Trouble as trouble:
        return trouble
    return None


def _say(state: State, trouble: Trouble) -> int:
    """Write `trouble` down and into the log. It is no failure of the unit: systemd has nothing to mend here."""
    if trouble.reason != "profile":
        backup.note(state, trouble)
    print(trouble.message)
    return DONE


def _now(state: State, chosen: argparse.Namespace, cancel: threading.Event) -> int:
    tell: Printer = printer(chosen.progress)

    def step(sent: backup.Sent) -> None:
        tell.step(Step("send", *sent))

    try:
        pending = backup.once(state, anyway=chosen.anyway, tell=step, cancel=cancel)
    except Trouble as trouble:
        backup.note(state, trouble)
        return tell.failed(trouble)
    backup.note(state, None, pending=pending)
    return tell.done("done", "Your Journal is on the school server now.")


def _register(state: State, chosen: argparse.Namespace, _cancel: threading.Event) -> int:
    try:
        at = registration.register(state, asked=True)
    except Trouble as trouble:
        if not chosen.json:
            raise
        print(json.dumps({"ok": False, "reason": trouble.reason, "message": trouble.message}))
        return NOT_DONE
    text = f"This laptop is registered with the school server as {at.login}."
    print(json.dumps({"ok": True, "login": at.login, "message": text}) if chosen.json else text)
    return DONE


def _self_check(state: State, chosen: argparse.Namespace, _cancel: threading.Event) -> int:
    try:
        reason, message = "", self_check.check(state)
    except Trouble as trouble:
        reason, message = trouble.reason, trouble.message
    print(json.dumps({"ok": not reason, "reason": reason, "message": message}) if chosen.json else message)
    return NOT_DONE if reason else DONE


def _why_not(state: State, chosen: argparse.Namespace, _cancel: threading.Event) -> int:
    reason, message = why_not(state)
    print(json.dumps({"reason": reason, "message": message}) if chosen.json else message)
    return DONE


def why_not(state: State) -> tuple[str, str]:
    """Return the reason why no backup starts at this moment, and its sentence; takes no place on the server."""
    try:
        _, now = backup.check(state)
        with state.alone():
            pass
        if backup.is_done(state, now):
            raise Trouble("done")
        at = registration.registered(state)
        if at is None:
            return _as_last_time(state, "refused")
        if _disk(server.ask(state, at, "status")).get("full"):
            raise Trouble("full")
        waiting = state.read(backup.OFFER)
        if waiting and conditions.is_patient(waiting):
            raise Trouble("offer")
        return _as_last_time(state, "busy", "partly", "moving", "trouble")
    except Trouble as trouble:
        return trouble.reason, trouble.message


def _as_last_time(state: State, *reasons: str) -> tuple[str, str]:
    """Return how the last run ended where that may still be so, else that the next one is due."""
    outcome = state.read(backup.OUTCOME)
    reason = outcome.get("reason") if outcome.get("reason") in reasons else "due"
    return str(reason), str(outcome.get("message")) if reason != "due" else words.SENTENCES["due"]


def _disk(answer: dict[str, Any]) -> dict[str, Any]:
    disk = answer.get("disk")
    return disk if isinstance(disk, dict) else {}


def _status(state: State, chosen: argparse.Namespace, _cancel: threading.Event) -> int:
    known = backup.status(state)
    reason, message = why_not(state)
    approval = None
    at = registration.registered(state)
    if at and reason != "away":
        try:
            approval = server.ask(state, at, "status").get("approval")
        except Trouble:
            approval = None
    published = publication.fetch(registration.host(state)) if reason != "away" else None
    update = update_record.read()
    version = apt.installed("xo-client")[0] or __version__
    if chosen.json:
        more = {
            "version": version,
            "school_version": published.client if published else None,
            "update": update._asdict() if update else None,
        }
        print(json.dumps({**known, "reason": reason, "message": message, "approval": approval, **more}))
        return DONE
    last = known["last"]
    print(f"Last backup: {last.replace('T', ' ').replace('Z', ' (UTC)')}" if last else "No backup yet.")
    if at:
        print(f"This laptop is {at.login} on {at.host}.")
    print(message)
    if approval == "pending" and reason != "pending":
        print(words.SENTENCES["pending"])
    if known["offer"] and reason != "offer":
        print(words.SENTENCES["offer"])
    print(*versions(version, published, update), sep="\n")
    return DONE


def versions(
    version: str, published: publication.Published | None, update: update_record.Record | None
) -> list[str]:  # fmt: skip
    """Return the sentences that say which `version` runs, what the school has, and why an update did not work."""
    said = [f"This laptop has version {version} of the backup program."]
    if published and published.client != version:
        said = [f"{said[0][:-1]}, the school server has {published.client}."]
    # What is said of another version than the one that runs is over: somebody installed one by hand.
    if update and update.outcome in ("failed", "later") and update.version == version:
        said.append(update.message)
    return said
