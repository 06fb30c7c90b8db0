# SPDX-License-Identifier: GPL-3.0-or-later
"""What the window within Sugar shows, out of what `xo-backup` and `xo-restore` print. Pure: nothing of GTK is here."""

from __future__ import annotations

import datetime
import json
from typing import Any, NamedTuple

from xo_client.progress import megabytes
from xo_client.words import PASSING, SENTENCES

BACKUP, RESTORE = "backup", "restore"

# What a button asks for, and what stands on it.
CANCEL, RETRY, CLOSE, START, RESTART, LATER, GET, NOT_NOW, ANYWAY, FIT = (
    "cancel", "retry", "close", "start", "restart", "later", "get", "not-now", "anyway", "fit",
)  # fmt: skip
LABELS = {
    CANCEL: "Cancel",
    RETRY: "Try again",
    CLOSE: "Close",
    START: "Get them back",
    RESTART: "Restart Sugar now",
    LATER: "Later",
    GET: "Get them back",
    NOT_NOW: "Not now",
    ANYWAY: "Save today's Journal all the same",
    FIT: "Get the newest that fit",
}

_PHASES = {
    "ask": "Asking the school server…",
    "send": "Your Journal goes to the school server…",
    "fetch": "Your documents come from the school server…",
    "check": "Looking whether every document is whole…",
    "move": "Putting them into your Journal. This takes a moment…",
}
_STOPPING = "Stopping…"
_OFFER = "The school server keeps documents that are not on this laptop. Do you want them back first?"
_UNEXPLAINED = "It stopped before it was done. Your Journal is safe. If this happens again, tell your teacher."


class Shown(NamedTuple):
    """What the window shows."""

    sentence: str
    detail: str = ""  # smaller, below the bar
    bar: bool = False
    fraction: float | None = None  # how full the bar is; None: nobody knows
    lines: tuple[str, ...] = ()  # one for each document that was left on the server
    buttons: tuple[str, ...] = (CLOSE,)  # the first is what most children want


class Choice(NamedTuple):
    """One thing that a restore can bring back."""

    label: str
    note: str
    arguments: tuple[str, ...]  # of xo-restore


def asking() -> Shown:
    """Return what is shown until a program has said something."""
    return Shown(_PHASES["ask"], bar=True, buttons=(CANCEL,))


def stopping(before: Shown) -> Shown:
    """Return what is shown once the child has pressed Cancel."""
    return Shown(_STOPPING, detail=before.detail, bar=True, fraction=before.fraction, buttons=())


def stop_activities() -> Shown:
    """Return what is shown instead of a restore while activities are open: they could not save any more."""
    return Shown("Stop all your activities first. Then come here again.")


def to_restart(before: Shown) -> Shown:
    """Return what is shown after a restore where Sugar's shell cannot find its datastore any more."""
    detail = "Sugar has to start again now, or your Journal looks empty."
    return before._replace(detail=detail, buttons=(RESTART, LATER))


def restarting() -> Shown:
    """Return what is shown while Sugar ends."""
    return Shown("Sugar starts again…", bar=True, buttons=())


def not_restarted() -> Shown:
    """Return what is shown when Sugar did not end: an activity asks the child something."""
    return Shown("An activity is still open. Stop it, then press the button again.", buttons=(RESTART, LATER))


def offered(offer: dict[str, Any]) -> Shown:
    """Return the question that offer.json, read as `offer`, puts to the child."""
    documents, day = _number(offer.get("documents")), offer.get("day")
    what = f"{counted(documents)} of yours" if documents else "documents of yours"
    since = f" from {said(day)}" if isinstance(day, str) and day else ""
    them = "it" if documents == 1 else "them"
    return Shown(f"The school server has {what}{since}. Do you want {them} back?", buttons=(GET, NOT_NOW))


def parse(line: str) -> dict[str, Any] | None:
    """Return the JSON object in `line`, None where there is none: a program's stray words disturb nobody."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def after(event: dict[str, Any], task: str, before: Shown) -> Shown:
    """Return what is shown after `event` of a backup or a restore (`task`), when `before` was shown."""
    kind = event.get("event")
    if kind == "plan":
        return before._replace(detail=_planned(event))
    if kind == "progress":
        return _under_way(event, before)
    if kind == "end":
        return _ended(event, task)
    return before


def without_word(code: int) -> Shown:
    """Return what is shown when a program ended with the exit code `code` and had not told how it went."""
    if code == 3:
        return Shown(SENTENCES["cancelled"], buttons=(RETRY, CLOSE))
    return Shown(_UNEXPLAINED, buttons=(RETRY, CLOSE))


def choices(listing: dict[str, Any]) -> list[Choice]:
    """Return what a child can choose from, out of `xo-restore --list --json`; the first one is the usual one."""
    days = [day for day in _dicts(listing.get("days")) if isinstance(day.get("day"), str)]
    if not days:
        return []
    best = next((day for day in days if day.get("best") is True), days[0])
    found = [Choice(f"Everything, as it was on {said(best['day'])}", _much(best), ())]
    missing = listing.get("missing")
    if missing != 0:
        note = counted(_number(missing)) if missing else "The documents of your Journal stay as they are."
        found.append(Choice("Only what my Journal does not have", note, ("--missing",)))
    newest: dict[str, dict[str, Any]] = {}
    for day in days:
        known = newest.get(day["day"])
        if known is None or str(day.get("stamp", "")) > str(known.get("stamp", "")):
            newest[day["day"]] = day
    others = [newest[name] for name in sorted(newest, reverse=True) if newest[name] is not best]
    return found + [Choice(f"As it was on {said(day['day'])}", _much(day), ("--day", day["day"])) for day in others]


def choosing(listing: dict[str, Any]) -> Shown:
    """Return what is shown above the choices of `listing`, or instead of them where there is nothing to choose."""
    pending = SENTENCES["pending"] if listing.get("approval") == "pending" else ""
    if not choices(listing):
        return Shown(pending or SENTENCES["nothing"], buttons=(CLOSE,))
    kept = "What only today's Journal has stays in it."
    return Shown("What do you want back?", detail=f"{kept} {pending}".strip(), buttons=(START, CANCEL))


def not_listed(answer: dict[str, Any], code: int) -> Shown:
    """Return what is shown when `xo-restore --list --json` ended with `code` and gave `answer` in place of a list."""
    if not isinstance(answer.get("message"), str):
        return without_word(code)
    return _ended({**answer, "retry": answer.get("reason") in PASSING}, RESTORE)


def last_saved(status: dict[str, Any]) -> str:
    """Return when the Journal was saved last, and what there is to know, out of `xo-backup status --json`."""
    last, message = status.get("last"), status.get("message")
    words = [f"Saved last on {said(last[:10])}." if isinstance(last, str) and last else "Not saved yet."]
    if status.get("reason") != "done" and isinstance(message, str) and message:
        words.append(message)
    return " ".join(words)


def refused(printed: str) -> str:
    """Return the sentence of `xo-backup register --json` that said no, out of all that it `printed`."""
    for line in reversed(printed.strip().splitlines()):
        answer = parse(line)
        message = answer.get("message") if answer else line
        if isinstance(message, str) and message.strip():
            return message.strip()
    return "The laptop could not register. Please tell your teacher."


def counted(documents: int) -> str:
    """Return a number of documents in words."""
    return "1 document" if documents == 1 else f"{documents} documents"


def said(day: str) -> str:
    """Return a day (2026-11-21) as a child says it: Saturday 21 November."""
    try:
        date = datetime.date.fromisoformat(day)
    except ValueError:
        return day
    return f"{date:%A}\xa0{date.day}\xa0{date:%B}"  # on one line


def _planned(event: dict[str, Any]) -> str:
    documents, kept, day = _number(event.get("documents")), _number(event.get("kept")), event.get("day")
    if not documents:
        return ""
    parts = [f"{counted(documents)}, {megabytes(_number(event.get('bytes')))}"]
    if isinstance(day, str) and day:
        parts.append(f"from {said(day)}")
    text = " ".join(parts) + "."
    if kept:
        text += f" {counted(kept)} of today {'stays' if kept == 1 else 'stay'} beside them."
    return text


def _under_way(event: dict[str, Any], before: Shown) -> Shown:
    phase = str(event.get("phase"))
    documents, of_documents = _number(event.get("documents")), _number(event.get("of_documents"))
    size, of_size = _number(event.get("bytes")), _number(event.get("of_bytes"))
    fraction = None
    if of_size:
        fraction = min(1.0, size / of_size)
    elif of_documents:
        fraction = min(1.0, documents / of_documents)
    detail = before.detail if not of_documents else f"{min(documents, of_documents)} of {counted(of_documents)}"
    if of_size:
        detail += f", {megabytes(min(size, of_size))} of {megabytes(of_size)}"
    if before.sentence == _STOPPING and phase != "move":
        return before._replace(detail=detail, fraction=fraction)
    # What is being moved in is finished: there is nothing to cancel.
    buttons = () if phase == "move" else (CANCEL,)
    return Shown(_PHASES.get(phase, before.sentence), detail, bar=True, fraction=fraction, buttons=buttons)


def _ended(event: dict[str, Any], task: str) -> Shown:
    outcome, reason, message = event.get("outcome"), event.get("reason"), event.get("message")
    lines = tuple(
        f"{left.get('title') or 'A document without a title'}: {left.get('why')}" for left in _dicts(event.get("left"))
    )
    sentence = message if isinstance(message, str) and message else _UNEXPLAINED
    if outcome == "done":
        return Shown(sentence, bar=True, fraction=1.0, lines=lines)
    if outcome == "nothing":
        return Shown(sentence, lines=lines)
    if reason == "offer":
        # The program's own sentence says where to go for that; here it is a button.
        return Shown(_OFFER, buttons=(GET, ANYWAY, CLOSE))
    if reason == "room" and task == RESTORE:
        return Shown(sentence, lines=lines, buttons=(FIT, CLOSE))
    return Shown(sentence, lines=lines, buttons=(RETRY, CLOSE) if event.get("retry") is True else (CLOSE,))


def _much(day: dict[str, Any]) -> str:
    documents, size = day.get("documents"), day.get("bytes")
    parts = []
    if isinstance(documents, int):
        parts.append(counted(documents))
    if isinstance(size, int) and size > 0:
        parts.append(megabytes(size))
    return ", ".join(parts)


def _number(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) and 0 <= value < 1e18 else 0


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
