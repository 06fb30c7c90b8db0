# SPDX-License-Identifier: GPL-3.0-or-later
"""What `xs status` tells of a school with one Journal that was lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import school
from schoolserver import cli, cli_status, paths, pins, snapshot, unreadable
from schoolserver.engines import DATASTORE

JIM, ANN = "SHC11111111", "SHC22222222"
S1, S2 = "2026-11-23T101500Z", "2026-11-24T101500Z"


@pytest.fixture
def users(library: Path) -> Path:
    """Ann, and Jim, whose laptop was reflashed between two backups."""
    users = library / "users"
    for name in (JIM, ANN):
        school.make_tree(users, name)
    for day, documents in ((0, 20), (1, 2)):
        for number in range(20):
            entry = users / JIM / "datastore-current"
            if number < documents:
                school.write_document(entry, school.uid(number))
            elif day:
                school.remove_document(entry, school.uid(number))
        school.end_run(users / JIM)
        assert snapshot.take(users / JIM, school.day(day), library / "catalog.db")
    return users


def test_a_lost_journal_is_seen(users: Path) -> None:
    status = cli_status.look(users)
    assert (status.trees, status.last_run) == (2, S2)
    assert [(loss.tree, loss.stamp, loss.documents, loss.since) for loss in status.losses] == [(JIM, S1, 18, S2)]


def test_one_tree_whose_pins_are_damaged_hides_no_other(users: Path) -> None:
    (users / ANN / pins.FILE).write_text("{")
    status = cli_status.look(users)
    assert len(status.losses) == 1
    assert f"{ANN}/{pins.FILE} is damaged" in status.damaged[0]


def test_it_is_said_in_words_and_for_programs(
    users: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "USERS", users)
    monkeypatch.setattr("sys.argv", ["xs", "status"])
    assert cli.main() == 0
    said = capsys.readouterr().out
    assert said.startswith(f"2 trees, the last backup {S2}, the disk ")
    assert said.splitlines()[-1].split() == [JIM, S1, "18", S2]
    monkeypatch.setattr("sys.argv", ["xs", "status", "--json"])
    assert cli.main() == 0
    assert json.loads(capsys.readouterr().out)["losses"][0]["tree"] == JIM


def test_a_file_that_cannot_be_read_is_named_and_runs_nothing_in_the_terminal(
    users: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unreadable.settle(users / JIM, DATASTORE, S2, [("a\x1b[2Jb",)])
    assert cli_status.look(users).unreadable == [cli_status.Unreadable(JIM, "datastore-current/a\x1b[2Jb", S2)]
    monkeypatch.setattr(paths, "USERS", users)
    monkeypatch.setattr("sys.argv", ["xs", "status"])
    assert cli.main() == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == [JIM, "datastore-current/a?[2Jb", S2]
