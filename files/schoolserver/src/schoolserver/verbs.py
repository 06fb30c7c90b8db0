# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gate answers to our own client: status, history, ticket (PROTOCOL.md section 9). Runs as the learner."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from schoolserver import accounts, allowance, datastore, local_socket, paths, pins, settings, stamps
from schoolserver.accounts import Account
from schoolserver.errors import Refusal
from schoolserver.pins import Pin

PROTOCOL = 1
_TICKET_SECONDS = 5.0
_COUNTS_SECONDS = 2.0  # for all trees: a restore waits for the answer, and needs none of it
_FULL = "The school server is full. Please tell your teacher."
_PENDING = "If you had another laptop, or this one was repaired, ask your teacher for your old documents."


def answer(verb: str, tree: str, trees: list[str], users: Path = paths.USERS) -> str:
    """Return the text that answers `xs <verb>` of a laptop whose key writes `tree`; raise Refusal or OSError.

    `trees` are all of its learner, `tree` among them.
    """
    if verb == "ticket":
        return _ticket(tree)
    account = accounts.from_json((users / tree / accounts.FILE).read_text(encoding="utf-8"), tree)
    body = status(users, account, trees) if verb == "status" else history(users, account, trees)
    return json.dumps({"protocol": PROTOCOL, **body})


def _ticket(tree: str) -> str:
    try:
        reply = local_socket.ask(paths.SOCKETS / "ticket", {"tree": tree}, _TICKET_SECONDS)
    except OSError as error:
        raise Refusal("the Journal page of the school server is not there: try again later") from error
    if not reply.get("ok"):
        raise Refusal(str(reply.get("error")))
    return str(reply["url"])


def status(users: Path, account: Account, trees: list[str]) -> dict[str, Any]:
    """Return what `xs status` says of `account`."""
    used = allowance.used_percent(str(users))
    full = used > settings.load("accounts").full_percent
    taken = datastore.snapshots(users / account.tree)
    asked = approval(account, trees)
    messages = [_FULL] if full else []
    if asked == "pending":
        messages.append(_PENDING)
    return {
        "approval": asked,
        "disk": {"used_percent": round(used), "full": full},
        "last_run": stamps.written(stamps.time_of(taken[-1])) if taken else None,
        "message": " ".join(messages),
    }


def approval(account: Account, trees: list[str]) -> str:
    """Return granted when the learner has other trees, pending when a person should say whose it is, else none."""
    if len(trees) > 1:
        return "granted"
    return "pending" if account.tree != account.serial and not account.approvals else "none"


def history(users: Path, account: Account, trees: list[str]) -> dict[str, Any]:
    """Return what `xs history` says: the learner's trees that the laptop may read, its own first.

    `documents` and `bytes` (of the documents' data) are null where the catalog does not know, or nobody answers.
    """
    ordered = [account.tree, *(tree for tree in trees if tree != account.tree)]
    counts = _counts(account.tree, ordered)
    return {"trees": [_of_tree(users / tree, counts.get(tree, {})) for tree in ordered]}


def _counts(own: str, trees: list[str]) -> dict[str, dict[str, list[int]]]:
    """Return {tree: {stamp: [documents, bytes]}} as far as the Journal page says it: a learner reads no catalog."""
    found: dict[str, dict[str, list[int]]] = {}
    until = time.monotonic() + _COUNTS_SECONDS
    for tree in trees:
        try:
            seconds = max(0.001, until - time.monotonic())
            reply = local_socket.ask(paths.SOCKETS / "ticket", {"tree": own, "history": tree}, seconds)
        except OSError:
            break
        found[tree] = reply.get("snapshots", {})
    return found


def _of_tree(tree: Path, counts: dict[str, list[int]]) -> dict[str, Any]:
    taken = datastore.snapshots(tree)
    try:
        pinned = pins.read(tree)
    except Refusal:  # until the next run pins all of them (keepsakes.py): a laptop is told nothing of our files
        pinned = {stamp: Pin(frozenset({pins.DAMAGED}), 0, stamp) for stamp in taken}
    best, why = pins.best_of(taken, pinned)
    snapshots = []
    for stamp in taken:
        documents, size = counts.get(stamp, (None, None))
        snapshots.append({"stamp": stamp, "documents": documents, "bytes": size, "pinned": stamp in pinned})
    return {"tree": tree.name, "snapshots": snapshots, "best": best, "why": why}
