# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gate answers to our own client: status, history, ticket (PROTOCOL.md section 9). Runs as the learner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schoolserver import accounts, allowance, datastore, local_socket, paths, pins, settings, stamps
from schoolserver.accounts import Account
from schoolserver.errors import Refusal

PROTOCOL = 1
_TICKET_SECONDS = 5.0
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
    """Return what `xs history` says: the learner's trees that the laptop may read, its own first."""
    others = [tree for tree in trees if tree != account.tree]
    return {"trees": [_of_tree(users / tree) for tree in (account.tree, *others)]}


def _of_tree(tree: Path) -> dict[str, Any]:
    taken = datastore.snapshots(tree)
    pinned = pins.read(tree)
    best, why = pins.best_of(taken, pinned)
    snapshots = [{"stamp": stamp, "pinned": stamp in pinned} for stamp in taken]
    return {"tree": tree.name, "snapshots": snapshots, "best": best, "why": why}
