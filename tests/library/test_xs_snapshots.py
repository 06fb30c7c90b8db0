# SPDX-License-Identifier: GPL-3.0-or-later
"""xs_snapshots and its twin: what is promised in check mode is what is then done, once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import school
import xs_snapshots
import xs_snapshots_info
from running import run
from schoolserver import datastore, paths, snapshot
from schoolserver.house import House
from standing import make_house

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a tree to its learner")
JIM, ANN = "SHC12345678", "SHC00000022"
S1 = "2026-11-23T101500Z"


@pytest.fixture
def users(library: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jim with a snapshot and a completed backup that waits, Ann with neither."""
    here = make_house(library)
    monkeypatch.setattr(xs_snapshots, "House", lambda: here)
    assert House().users == paths.USERS
    monkeypatch.setattr(paths, "USERS", here.users)
    monkeypatch.setattr(paths, "CATALOG", here.state / "catalog.db")
    for name in (JIM, ANN):
        school.make_tree(here.users, name)
    school.end_run(here.users / JIM)
    assert snapshot.take(here.users / JIM, school.day(0), here.state / "catalog.db") == S1
    school.end_run(here.users / JIM)
    return here.users


def test_what_waits_is_taken_as_check_mode_said_and_only_once(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    promised = run(xs_snapshots, capsys, {}, check=True)
    assert (promised["changed"], promised["taken"]) == (True, [JIM])
    assert datastore.snapshots(users / JIM) == [S1]
    done = run(xs_snapshots, capsys, {})
    assert (done["changed"], done["taken"]) == (True, [JIM])
    assert len(datastore.snapshots(users / JIM)) == 2
    assert len(done["diff"]["after"].splitlines()) == len(done["diff"]["before"].splitlines()) + 1
    assert not run(xs_snapshots, capsys, {})["changed"]


def test_a_snapshot_is_pinned_and_unpinned(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for state in ("pinned", "unpinned"):
        wanted: dict[str, Any] = {"tree": JIM, "stamp": S1, "state": state, "why": "exhibition"}
        promised = run(xs_snapshots, capsys, wanted, check=True)
        done = run(xs_snapshots, capsys, wanted)
        assert promised["changed"]
        assert (done["changed"], done["said"]) == (True, promised["said"])
        assert not run(xs_snapshots, capsys, wanted)["changed"]


def test_the_twin_tells_what_there_is(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(xs_snapshots, capsys, {"tree": JIM, "stamp": S1, "state": "pinned"})
    ann, jim = run(xs_snapshots_info, capsys, {})["trees"]
    assert (ann["tree"], ann["snapshots"], ann["best"]) == (ANN, [], None)
    assert jim["snapshots"] == [{"stamp": S1, "pinned": ["a person's"]}]
    assert run(xs_snapshots_info, capsys, {"tree": JIM})["trees"] == [jim]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"tree": "SHC99999999"}, "no tree is called SHC99999999"),
        ({"state": "pinned"}, "missing"),
        ({"state": "pinned", "tree": JIM, "stamp": "2001-01-01T000000Z"}, "there is no snapshot"),
        ({"state": "pinned", "tree": "../x", "stamp": S1}, "no tree is called"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    users: Path, capsys: pytest.CaptureFixture[str], wanted: dict[str, Any], said: str
) -> None:
    answer = run(xs_snapshots, capsys, wanted)
    assert answer["failed"]
    assert said in answer["msg"]


def test_on_a_bare_host_there_is_nothing_to_take(
    users: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (xs_snapshots, xs_snapshots_info):
        monkeypatch.setattr(module, "INSTALLED", False)
    assert not run(xs_snapshots, capsys, {}, check=True)["changed"]
    assert "run playbooks/site.yml first" in run(xs_snapshots, capsys, {})["msg"]
    assert run(xs_snapshots_info, capsys, {})["trees"] == []
