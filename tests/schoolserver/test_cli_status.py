# SPDX-License-Identifier: GPL-3.0-or-later
"""What `xs status` sees of a school, and says; what it decides is in test_status.py."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import laptops
import school
from schoolserver import (
    accounts,
    acts,
    cli,
    cli_status,
    disk_use,
    gate,
    house,
    image_room,
    keepsakes,
    paths,
    pins,
    registrar,
    snapshot,
    stamps,
    status,
    unreadable,
)
from schoolserver.audit import Who
from schoolserver.engines import DATASTORE
from schoolserver.house import House
from standing import make_house

JIM, ANN, EVE, BOB = "SHC11111111", "SHC22222222", "SHC33333333", "SHC44444444"
S1, S2 = "2026-11-23T101500Z", "2026-11-24T101500Z"
Run = Callable[..., tuple[int, str]]


def write_account(users: Path, tree: str, learner: str = "") -> None:
    """Give a made-up tree the account of a laptop that registered today."""
    today, given = stamps.written(datetime.now(UTC)), laptops.key_of(len(tree) * 10 + int(tree[3]))
    key = accounts.AccountKey(given.type, given.blob, today)
    names = () if "." in tree else (tree,)
    account = accounts.Account(tree, learner or tree, names, school.LEARNER, (key,), "Jim", laptops.UUID, today)
    accounts.write(users, account)


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


def look(users: Path, days: int = 2) -> status.Status:
    """Return what is seen `days` days after the first backup."""
    return cli_status.look(House(users=users, state=users.parent), school.day(days))


@pytest.fixture
def run(users: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `xs status` with these words and returns exit code and output."""
    monkeypatch.setattr(paths, "USERS", users)
    monkeypatch.setattr(paths, "STATE", users.parent)
    monkeypatch.setattr(image_room, "lacking", lambda _: 0)  # the file systems of these tests lie in sparse images

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["xs", "status", *words])
        capsys.readouterr()
        return cli.main(), capsys.readouterr().out

    return run


def test_a_lost_journal_is_seen(users: Path) -> None:
    found = look(users)
    assert (found.trees, found.last_run) == (2, S2)
    assert found.losses == [status.Loss(JIM, S1, 18, S2)]


def test_a_library_in_an_image_with_holes_is_told(users: Path) -> None:
    assert look(users).disk.lacking > 0, "the file systems of these tests lie in sparse images"


def test_one_tree_whose_pins_are_damaged_hides_no_other(users: Path) -> None:
    (users / ANN / pins.FILE).write_text("{")
    found = look(users)
    assert len(found.losses) == 1
    assert any(f"{ANN}/{pins.FILE} is damaged" in line for line in found.damaged)


def test_it_is_said_in_words_and_for_programs_and_by_the_exit_code(users: Path, run: Run) -> None:
    for tree in (JIM, ANN):  # the accounts are another test's
        write_account(users, tree)
    code, said = run()
    assert code == 2
    assert f"loss  {JIM}  18 documents gone after {S1}" in said
    code, said = run("--json")
    assert code == 2
    assert json.loads(said)["losses"][0]["tree"] == JIM
    assert next(one["about"] for one in json.loads(said)["needs_person"]) == "loss"


def test_nothing_wrong_is_said_too(users: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for tree in (JIM, ANN):
        write_account(users, tree)
    pins.write(users / JIM, {})
    code, said = run()
    assert (code, said.splitlines()[0]) == (0, "Nothing needs a person.")
    monkeypatch.setattr(paths, "USERS", users / "nowhere")
    assert run() == (1, "")


def test_words_that_are_none_are_an_error_and_not_a_school_that_needs_a_person(run: Run) -> None:
    with pytest.raises(SystemExit) as end:
        run("--jsom")
    assert end.value.code == 1


def test_a_file_that_cannot_be_read_is_named_and_runs_nothing_in_the_terminal(users: Path, run: Run) -> None:
    unreadable.settle(users / JIM, DATASTORE, S2, [("a\x1b[2Jb",)])
    assert look(users).unreadable == [status.Unreadable(JIM, "datastore-current/a\x1b[2Jb", S2)]
    code, said = run()
    assert (code, "datastore-current/a?[2Jb" in said, "\x1b" in said) == (2, True, False)


def test_which_laptops_are_late_follows_their_accounts(tmp_path: Path) -> None:
    """Jim's is in use, Ann's in store; Eve's waits for a word of the teacher with another key, and Bob is removed."""
    here = make_house(tmp_path)
    for number, (serial, nick) in enumerate(((JIM, "Jim"), (ANN, "Ann"), (EVE, "Eve"), (EVE, "Eve"), (BOB, "Bob"))):
        registrar.register(laptops.message(serial, laptops.dsa(number), nick=nick), here)
    who = Who("maria", "172.18.0.20")
    acts.retire(here, ANN, who)
    acts.remove(here, BOB, who)
    for account in house.read(here).accounts.values():
        accounts.write(here.users, replace(account, registered=stamps.written(school.day(0))))

    def late(days: int) -> list[str]:
        return [one.tree for one in cli_status.look(here, school.day(days)).late]

    assert late(6) == []
    assert late(7) == [JIM, EVE]
    (here.users / JIM / "datastore" / S2).mkdir()
    assert late(7) == [EVE]
    assert late(8) == [JIM, EVE] or late(8) == [EVE, JIM]


def test_who_holds_what_is_told_of_the_heaviest_first_each_learner_once(users: Path) -> None:
    further = f"{JIM}.2"
    school.make_tree(users, further)
    for tree in (JIM, ANN, further):
        write_account(users, tree, learner=JIM if tree == further else tree)
    for tree, size in ((JIM, 5_000), (further, 7_000), (ANN, 9)):
        (users / tree / ".state" / "usage").write_text(f"3 {size}\n")
    (users / ANN / keepsakes.DIRECTORY / school.uid(1) / S1).mkdir(parents=True)
    assert look(users).holders == [
        status.Holder(JIM, "Jim", 7_000, 18, 1),
        status.Holder(ANN, "Jim", 9, 1, 0),
    ]


def test_what_pinned_snapshots_alone_hold_is_told_and_counts(users: Path) -> None:
    for tree in (JIM, ANN):
        write_account(users, tree)
    (users / JIM / ".state" / "usage").write_text("3 299\n")
    for day, documents in ((0, 61), (1, 1)):
        for number in range(61):
            if number < documents:
                school.write_document(users / ANN / "datastore-current", school.uid(number))
            else:
                school.remove_document(users / ANN / "datastore-current", school.uid(number))
        school.end_run(users / ANN)
        assert snapshot.take(users / ANN, school.day(day), users.parent / "catalog.db")
    five = len(b"words")
    assert look(users).holders == [
        status.Holder(ANN, "Jim", 0, 0, 1, 60 * five),  # too many for keepsakes
        status.Holder(JIM, "Jim", 299, 18, 1, 0),  # what Jim's holds lies in keepsakes as well
    ]
    (users.parent / "catalog.db").unlink()
    assert [one.pinned_bytes for one in look(users).holders] == [0, 0]


@pytest.mark.parametrize("trick", ["a link", "a pipe", "no number"])
def test_no_trick_with_the_count_reaches_the_reader(users: Path, trick: str) -> None:
    write_account(users, ANN)
    usage = users / ANN / ".state" / "usage"
    if trick == "a link":
        secret = users / "secret"
        secret.write_text("1 12345")
        usage.symlink_to(secret)
    elif trick == "a pipe":
        os.mkfifo(usage)
    else:
        usage.write_text("1 many")
    assert look(users).holders == [status.Holder(ANN, "Jim", 0, 0, 0)]


def test_runs_that_end_in_part_are_told_after_three_days(users: Path) -> None:
    noted = users / ANN / ".state" / gate.INCOMPLETE
    noted.touch()
    os.utime(noted, (school.day(0).timestamp(),) * 2)
    assert look(users, 2).incomplete == []
    assert look(users, 3).incomplete == [status.Incomplete(ANN, "2026-11-23T10:15:00Z", 3)]


def test_what_laptops_wrote_wrong_is_listed_and_a_broken_catalog_is_named(users: Path) -> None:
    school.write_document(users / ANN / "datastore-current", school.uid(3), title=b"\xff\xfe")
    school.end_run(users / ANN)
    snapshot.take(users / ANN, school.day(1), users.parent / "catalog.db")
    assert [(one.tree, one.uid, one.damaged) for one in look(users).damaged_documents] == [
        (ANN, school.uid(3), "title is not UTF-8")
    ]
    (users.parent / "catalog.db").write_bytes(b"no database" * 1000)
    found = look(users)
    assert found.damaged_documents == []
    assert any("catalog.db" in line and "xs catalog rebuild" in line for line in found.damaged)


def test_the_last_rotation_and_the_forecast_are_read(users: Path) -> None:
    assert (look(users).rotation, look(users).disk.weeks_left) == (None, None)
    last = {"ended": S2, "removed": 3, "stopped": "", "failed": {JIM: "a bad sector"}}
    (users.parent / "rotation.json").write_text(json.dumps({"last": last}))
    uses = [{"when": school.day(day).strftime(stamps.FORM), "used": day, "size": 1000} for day in range(11)]
    (users.parent / disk_use.FILE).write_text(json.dumps(uses))
    found = look(users)
    assert found.rotation == status.Rotation(S2, 3, "", {JIM: "a bad sector"})
    assert found.disk.weeks_left == pytest.approx((900 - 10) / 7)
    (users.parent / "rotation.json").write_text("{")
    assert look(users).rotation is None
