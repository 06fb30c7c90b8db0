# SPDX-License-Identifier: GPL-3.0-or-later
"""What our own client is told, as decided; test_gate.py has it as spoken."""

from __future__ import annotations

from dataclasses import replace

from laptops import JIM, after, request
from schoolserver import verbs
from schoolserver.accounts import HANDED_ON, Approval


def test_approval_is_asked_for_only_where_a_serial_has_an_older_tree() -> None:
    first, further = after(request(key=0), request(key=1)).accounts.values()
    assert verbs.approval(first, [JIM]) == "none"
    assert verbs.approval(further, [further.tree]) == "pending"
    assert verbs.approval(replace(further, learner=JIM), [JIM, further.tree]) == "granted"
    handed_on = Approval(HANDED_ON, JIM, "2026-11-23T10:00:00Z", "maria")
    assert verbs.approval(replace(further, approvals=(handed_on,)), [further.tree]) == "none"
