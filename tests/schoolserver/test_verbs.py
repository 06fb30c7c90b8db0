# SPDX-License-Identifier: GPL-3.0-or-later
"""What our own client is told, as decided; test_gate.py has it as spoken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from laptops import JIM, after, request
from schoolserver import pins, verbs
from schoolserver.accounts import HANDED_ON, Approval
from schoolserver.pins import Pin, Pins

OLD, NEW = "2026-11-22T101500Z", "2026-11-23T101500Z"
LOSS, MANY = Pin(frozenset({pins.BULK_LOSS}), 90, NEW), Pin(frozenset({pins.KEEPSAKES}), 60, NEW)


@pytest.mark.parametrize(
    ("taken", "pinned", "best"),
    [
        ([], {}, (None, "none")),
        ([OLD, NEW], {}, (NEW, "newest")),
        ([OLD, NEW], {OLD: MANY}, (NEW, "newest")),
        ([OLD, NEW], {OLD: LOSS}, (OLD, "bulk-loss")),
        ([NEW], {OLD: LOSS}, (NEW, "newest")),
    ],
)
def test_a_restore_offers_the_newest_or_the_one_before_a_bulk_loss(
    taken: list[str], pinned: Pins, best: tuple[str | None, str]
) -> None:
    assert verbs.best_of(taken, pinned) == best


def test_approval_is_asked_for_only_where_a_serial_has_an_older_tree() -> None:
    first, further = after(request(key=0), request(key=1)).accounts.values()
    assert verbs.approval(first, [JIM]) == "none"
    assert verbs.approval(further, [further.tree]) == "pending"
    assert verbs.approval(replace(further, learner=JIM), [JIM, further.tree]) == "granted"
    handed_on = Approval(HANDED_ON, JIM, "2026-11-23T10:00:00Z", "maria")
    assert verbs.approval(replace(further, approvals=(handed_on,)), [further.tree]) == "none"
