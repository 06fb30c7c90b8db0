# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gate answers to our own client: status, history, ticket (PROTOCOL.md section 9). Runs as the learner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schoolserver import accounts, datastore, local_socket, paths, permission, pins, settings, stamps
from schoolserver.accounts import Account
from schoolserver.errors import Refusal

PROTOCOL = 1
_TICKET_SECONDS = 5.0


def answer(verb: str, tree: str, users: Path = paths.USERS) -> str:
    """Return the text that answers `xs <verb>` of a laptop whose key writes `tree`; raise Refusal or OSError."""
    if verb == "ticket":
        return _ticket(tree)
    account = accounts.from_json((users / tree / accounts.FILE).read_text(encoding="utf-8"), tree)
    body = status(users, account) if verb == "status" else history(users, account)
    return json.dumps({"protocol": PROTOCOL, **body})


def _ticket(tree: str) -> str:
    try:
        reply = local_socket.ask(paths.SOCKETS / "ticket", {"tree": tree}, _TICKET_SECONDS)
    except OSError as error:
        raise Refusal("the Journal page of the school server is not there: try again later") from error
    if not reply.get("ok"):
        raise Refusal(str(reply.get("error")))
    return str(reply["url"])


def status(users: Path, account: Account) -> dict[str, Any]:
    """Return what `xs status` says of `account`."""
    used = permission.used_percent(users)
    full = used > settings.load("accounts").full_percent
    taken = datastore.snapshots(users / account.tree)
    return {
        "approval": approval(account),
        "disk": {"used_percent": round(used), "full": full},
        "last_run": f"{stamps.time_of(taken[-1]):%Y-%m-%dT%H:%M:%SZ}" if taken else None,
        "message": "The school server is full. Please tell your teacher." if full else "",
    }


def approval(account: Account) -> str:
    """Return granted when the tree was joined to a learner's, pending when its serial has an older tree, else none."""
    if account.learner != account.tree:
        return "granted"
    return "pending" if account.tree != account.serial else "none"


def history(users: Path, account: Account) -> dict[str, Any]:
    """Return what `xs history` says of the trees that `account`'s laptop may read: for now, its own."""
    tree = users / account.tree
    taken = datastore.snapshots(tree)
    pinned = pins.read(tree)
    best, why = best_of(taken, pinned)
    snapshots = [{"stamp": stamp, "pinned": stamp in pinned} for stamp in taken]
    return {"trees": [{"tree": account.tree, "snapshots": snapshots, "best": best, "why": why}]}


def best_of(taken: list[str], pinned: pins.Pins) -> tuple[str | None, str]:
    """Return which snapshot a restore should offer, and why: the newest, or the last one before a bulk loss."""
    before_loss = [stamp for stamp in taken if stamp in pinned and pins.BULK_LOSS in pinned[stamp].why]
    if before_loss:
        return before_loss[-1], pins.BULK_LOSS
    return (taken[-1], "newest") if taken else (None, "none")
