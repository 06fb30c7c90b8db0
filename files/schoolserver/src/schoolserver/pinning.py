# SPDX-License-Identifier: GPL-3.0-or-later
"""A person keeps a snapshot whatever rotation does, or lets it go: for `xs snapshot` and the module xs_snapshots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from schoolserver import audit, datastore, engines, house, pins, snapshot, stamps
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from schoolserver.house import House
from schoolserver.pins import Pins

OWN = (pins.KEEPSAKES, pins.BULK_LOSS, pins.DAMAGED)  # reasons that the server gives itself
PERSON = "a person's"


Decide = Callable[[Pins, list[str], str], "Change"]


@dataclass(frozen=True)
class Change:
    """The pins of a tree before and after, and what to say of it."""

    before: Pins
    after: Pins
    said: str

    @property
    def changed(self) -> bool:
        """Whether pins.json is written."""
        return self.before != self.after


def pin(where: House, tree: str, stamp: str, why: str, who: Who, *, check: bool = False) -> Change:
    """Keep the snapshot `stamp` of `tree` for the reason `why`, one line; raise Refusal or OSError."""
    reason = " ".join(why.split()) or PERSON
    if reason in OWN:
        raise Refusal(f"{reason!a} is a reason that the server gives itself: use other words")
    return _change(where, tree, lambda kept, taken, now: decide(kept, taken, stamp, reason, now), who, check)


def unpin(where: House, tree: str, stamp: str, who: Who, *, check: bool = False) -> Change:
    """Let rotation take the snapshot `stamp` of `tree` when its time comes; raise Refusal or OSError.

    Whatever it was pinned for: this is the act of a person that the server waits for, and the answer says what may go.
    """
    return _change(where, tree, lambda kept, taken, now: decide(kept, taken, stamp, None, now), who, check)


def decide(kept: Pins, taken: list[str], stamp: str, why: str | None, now: str) -> Change:
    """Return what pinning `stamp` for `why`, or with None unpinning it, leads to; raise Refusal. Pure."""
    if stamp not in taken and not (why is None and stamp in kept):
        raise Refusal(f"there is no snapshot {stamp[:40]!a}: see `xs snapshot list`")
    if why is not None:
        return Change(kept, pins.add(kept, stamp, why, 0, now), f"{stamp} stays, whatever rotation does ({why})")
    after = {other: one for other, one in kept.items() if other != stamp}
    last = kept[stamp].documents if stamp in kept and pins.KEEPSAKES in kept[stamp].why else 0
    rest = f"; with it goes the last copy of up to {last} documents" if last else ""
    return Change(kept, after, f"{stamp} goes when its time comes{rest}")


def _change(where: House, tree: str, decide: Decide, who: Who, check: bool) -> Change:
    at, now = _directory(where, tree), datetime.now(UTC)

    def decided() -> Change:
        return decide(pins.read(at), datastore.snapshots(at), now.strftime(stamps.FORM))

    if check:
        return decided()
    with snapshot.held(at):  # the snapshot part writes the same file
        change = decided()
        if change.changed:
            entry = audit.Entry(stamps.written(now), who.name, who.place, tree, change.said)
            audit.record(where.audit, [entry], house.readers())
            engines.of(at).sync(at)  # nothing is let go of that nobody is on record for
            pins.write(at, change.after)
    return change


def _directory(where: House, tree: str) -> Path:
    at = where.users / tree
    if at not in datastore.trees(where.users):
        raise Refusal(f"no tree is called {tree[:40]!a}: see `xs laptop list`")
    return at
