# SPDX-License-Identifier: GPL-3.0-or-later
"""What our own client is told, as decided; test_gate.py has it as spoken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from laptops import ANN, JIM, after, request
from schoolserver import paths, pins, verbs
from schoolserver.accounts import HANDED_ON, Approval

S1, S2, S3 = "2026-11-23T101500Z", "2026-11-24T101500Z", "2026-11-25T101500Z"


def test_approval_is_asked_for_only_where_a_serial_has_an_older_tree() -> None:
    first, further = after(request(key=0), request(key=1)).accounts.values()
    assert verbs.approval(first, [JIM]) == "none"
    assert verbs.approval(further, [further.tree]) == "pending"
    assert verbs.approval(replace(further, learner=JIM), [JIM, further.tree]) == "granted"
    handed_on = Approval(HANDED_ON, JIM, "2026-11-23T10:00:00Z", "maria")
    assert verbs.approval(replace(further, approvals=(handed_on,)), [further.tree]) == "none"


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jim's old laptop, and the one that took its place; nobody answers at the Journal page."""
    for tree, stamps in ((ANN, (S1, S2)), (JIM, (S3,))):
        for stamp in stamps:
            (tmp_path / tree / "datastore" / stamp).mkdir(parents=True)
    monkeypatch.setattr(paths, "SOCKETS", tmp_path)
    return tmp_path


def best(users: Path) -> list[tuple[str, str | None, str]]:
    account = after(request(JIM, 0)).accounts[JIM]
    return [(one["tree"], one["best"], one["why"]) for one in verbs.history(users, account, [ANN, JIM])["trees"]]


def test_each_tree_of_a_learner_has_a_best_snapshot_of_its_own_the_laptops_tree_first(users: Path) -> None:
    assert best(users) == [(JIM, S3, "newest"), (ANN, S2, "newest")]
    pins.write(users / ANN, pins.add({}, S1, pins.BULK_LOSS, 30, S2))
    assert best(users) == [(JIM, S3, "newest"), (ANN, S1, "bulk-loss")]
    pins.write(users / ANN, pins.add({}, S1, "before the exhibition", 0, S2))
    assert best(users) == [(JIM, S3, "newest"), (ANN, S2, "newest")]


def test_where_the_pins_of_a_tree_are_damaged_all_its_snapshots_stay_and_a_laptop_still_hears_of_them(
    users: Path,
) -> None:
    (users / ANN / pins.FILE).write_text("{")
    assert best(users) == [(JIM, S3, "newest"), (ANN, S2, "newest")]
    account = after(request(JIM, 0)).accounts[JIM]
    own, other = verbs.history(users, account, [ANN, JIM])["trees"]
    assert [one["pinned"] for one in own["snapshots"] + other["snapshots"]] == [False, True, True]
