# SPDX-License-Identifier: GPL-3.0-or-later
"""xs_laptop registers as the service does, and says beforehand exactly what it will do."""

from __future__ import annotations

import base64
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import xs_laptop
from running import run
from schoolserver import audit, paths, policy, registrar, snapshot
from schoolserver.errors import Refusal
from schoolserver.house import House

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a tree to its learner")


def key(number: int) -> str:
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([number]) * 32
    return base64.b64encode(blob).decode()


JIM: dict[str, Any] = {
    "serial": "SHC12345678",
    "nick": "Jim",
    "uuid": "5dd1a5d0-7f2d-4c2a-9a5c-0a9d3c0b6a11",
    "pubkey": key(1),
}


ANN: dict[str, Any] = {**JIM, "serial": "SHC00000011", "nick": "Ann", "pubkey": key(3)}
EVE: dict[str, Any] = {"serial": "SHC00000022"}
FURTHER = "SHC12345678.2"


def stand(top: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a school server's directories under `top`, have the module stand there, and return the users' one."""
    house = House(top / "users", top / "state", top / "extrausers", top / "keys")
    for directory in (house.users, house.state, house.extrausers, house.keys):
        directory.mkdir()
    monkeypatch.setattr(xs_laptop, "House", lambda: house)
    monkeypatch.setattr(registrar, "House", lambda: house)
    monkeypatch.setattr(paths, "USERS", house.users)
    return house.users


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A school server's directories under a temporary one."""
    return stand(tmp_path, monkeypatch)


def accounts_of(users: Path) -> dict[str, dict[str, Any]]:
    return {file.parent.name: json.loads(file.read_text()) for file in sorted(users.glob("*/account.json"))}


def contents(top: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in top.rglob("*") if path.is_file() and path.name != "registry.db"}


def test_check_mode_says_what_the_real_run_then_does(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    promised = run(xs_laptop, capsys, JIM, check=True)
    assert promised["changed"]
    assert list(users.iterdir()) == []
    done = run(xs_laptop, capsys, JIM)
    assert done["changed"]
    assert (done["login"], done["tree"]) == (promised["login"], promised["tree"]) == ("SHC12345678", "SHC12345678")
    (diff,) = done["diff"]
    assert diff["before"] == ""
    assert (users / "SHC12345678" / "account.json").read_text() == diff["after"]


def test_a_second_run_changes_nothing(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(xs_laptop, capsys, JIM)
    again = run(xs_laptop, capsys, JIM)
    assert not again["changed"]
    assert again["diff"] == []


def test_a_new_nick_is_all_that_changes(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(xs_laptop, capsys, JIM)
    renamed = run(xs_laptop, capsys, {**JIM, "nick": "James"})
    assert renamed["changed"]
    (diff,) = renamed["diff"]
    assert diff["before"].replace("Jim", "James") == diff["after"]


def test_a_nick_that_is_left_out_stays_as_the_child_wrote_it(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registrar.register(JIM)  # as the laptop does
    from_a_list = {name: value for name, value in JIM.items() if name != "nick"}
    assert not run(xs_laptop, capsys, from_a_list, check=True)["changed"]
    assert not run(xs_laptop, capsys, from_a_list)["changed"]
    assert '"nick": "Jim"' in (users / "SHC12345678" / "account.json").read_text()


def test_a_laptop_can_be_listed_before_anybody_knows_its_nick(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(xs_laptop, capsys, {name: value for name, value in JIM.items() if name != "nick"})["changed"]
    assert '"nick": ""' in (users / "SHC12345678" / "account.json").read_text()


def test_another_key_for_a_known_serial_gets_a_further_tree(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(xs_laptop, capsys, JIM)
    before = (users / "SHC12345678" / "account.json").read_text()
    assert run(xs_laptop, capsys, {**JIM, "pubkey": key(2)})["tree"] == "SHC12345678.2"
    assert (users / "SHC12345678" / "account.json").read_text() == before


@pytest.mark.parametrize("check", [True, False])
def test_a_serial_that_is_no_identity_is_refused_in_the_words_of_the_service(
    users: Path, capsys: pytest.CaptureFixture[str], check: bool
) -> None:
    with pytest.raises(Refusal) as refusal:
        policy.check({**JIM, "serial": "SHF00000000"})
    answer = run(xs_laptop, capsys, {**JIM, "serial": "SHF00000000"}, check=check)
    assert answer["failed"]
    assert str(refusal.value) in answer["msg"]
    assert list(users.iterdir()) == []


def test_on_a_bare_host_check_mode_would_register_and_a_real_run_says_what_is_missing(
    users: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xs_laptop, "INSTALLED", False)
    assert run(xs_laptop, capsys, JIM, check=True)["changed"]
    assert "run playbooks/site.yml first" in run(xs_laptop, capsys, JIM)["msg"]


# A whole list.


def test_a_list_is_registered_in_one_go_and_check_mode_said_so(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    laptops = {"laptops": [JIM, {**ANN, "class": "4B", "joins": JIM["serial"]}, EVE]}
    promised = run(xs_laptop, capsys, laptops, check=True)
    assert list(users.iterdir()) == []
    done = run(xs_laptop, capsys, laptops)
    for answer in (promised, done):
        assert answer["changed"]
        assert answer["waiting"] == [EVE["serial"]]
        assert "login" not in answer, "that is of one laptop"
        assert [diff["after_header"] for diff in answer["diff"]] == [
            f"{users}/{one['serial']}/account.json" for one in (JIM, ANN)
        ]
    found = accounts_of(users)
    assert (found["SHC00000011"]["class"], found["SHC00000011"]["learner"]) == ("4B", "SHC12345678")
    again = run(xs_laptop, capsys, laptops)
    assert (again["changed"], again["diff"], again["waiting"]) == (False, [], [EVE["serial"]])


def test_a_spreadsheet_says_the_same_as_a_list(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{one['serial']};{one['nick']};{one['uuid']};{one['pubkey']}" for one in (JIM, ANN)]
    sheet = "\ufeff" + "\r\n".join(["serial;nick;uuid;pubkey", *lines, f"{EVE['serial']};;;", ";;;"])
    answer = run(xs_laptop, capsys, {"csv": sheet})
    assert (answer["changed"], answer["waiting"]) == (True, [EVE["serial"]])
    assert not run(xs_laptop, capsys, {"laptops": [JIM, ANN, EVE]})["changed"]


def test_an_empty_list_changes_nothing(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = run(xs_laptop, capsys, {"laptops": []})
    assert (answer["changed"], answer["waiting"]) == (False, [])


@pytest.mark.parametrize("check", [True, False])
def test_one_bad_line_changes_nothing_and_each_is_named(
    users: Path, capsys: pytest.CaptureFixture[str], check: bool
) -> None:
    run(xs_laptop, capsys, JIM)
    before = contents(users.parent)
    new = {**EVE, "uuid": JIM["uuid"], "pubkey": key(4), "joins": "SHC99999999"}
    laptops = [{**JIM, "nick": "James"}, {**ANN, "pubkey": "AAAA"}, new]
    answer = run(xs_laptop, capsys, {"laptops": laptops}, check=check)
    assert answer["failed"]
    assert [part.partition(": ")[0] for part in answer["msg"].split("; ")] == ["SHC00000011", "SHC00000022"]
    assert contents(users.parent) == before


def test_lines_that_say_what_is_no_column_are_all_named(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = run(xs_laptop, capsys, {"laptops": [JIM, {**ANN, "clas": "4B"}, {"nick": "Eve"}]})
    assert "SHC00000011: unknown column 'clas'" in answer["msg"]
    assert "laptop 3 of the list: a line has no serial" in answer["msg"]
    assert list(users.iterdir()) == []


@pytest.mark.parametrize(
    ("sheet", "why"),
    [
        ("nick;class\nJim;4B\n", "no column serial"),
        ('serial\n"SHC12345678\n', "damaged at its line 2"),
        ("serial\nSHC\n", "SHC: "),
    ],
)
def test_a_spreadsheet_that_cannot_be_used_fails_with_one_line(
    users: Path, capsys: pytest.CaptureFixture[str], sheet: str, why: str
) -> None:
    answer = run(xs_laptop, capsys, {"csv": sheet})
    assert answer["failed"]
    assert why in answer["msg"]
    assert "\n" not in answer["msg"]


# Whose it is, in store, gone.


def test_a_replaced_laptop_joins_and_an_empty_text_takes_it_back(
    users: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(xs_laptop, capsys, {"laptops": [JIM, ANN]})
    before = accounts_of(users)
    join = {"serial": ANN["serial"], "joins": JIM["serial"]}
    assert run(xs_laptop, capsys, join, check=True)["changed"]
    assert accounts_of(users) == before
    answer = run(xs_laptop, capsys, join)
    assert (answer["changed"], answer["login"], answer["tree"]) == (True, ANN["serial"], ANN["serial"])
    (approval,) = accounts_of(users)["SHC00000011"]["approvals"]
    assert (approval["did"], approval["tree"]) == ("joined", "SHC12345678")
    assert " with Ansible" in approval["by"]
    assert not run(xs_laptop, capsys, join)["changed"]
    assert run(xs_laptop, capsys, {**join, "joins": ""})["changed"]
    trail = audit.read(users.parent / "audit.jsonl", [ANN["serial"]])
    assert [entry.what for entry in trail[1:]] == [
        "SHC00000011 is the same child as SHC12345678",
        "SHC00000011 is apart from SHC12345678 again",
    ]
    assert all(entry.who.endswith(" with Ansible") for entry in trail)
    assert accounts_of(users) == before
    assert not run(xs_laptop, capsys, {**join, "joins": ""})["changed"]


def test_a_reflashed_laptop_joins_itself_and_writes_its_old_tree(
    users: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registrar.register(JIM)
    registrar.register({**JIM, "pubkey": key(2)})
    join = {"serial": JIM["serial"], "joins": JIM["serial"]}
    assert run(xs_laptop, capsys, join)["changed"]
    assert accounts_of(users)[FURTHER]["learner"] == JIM["serial"]
    assert (users.parent / "keys" / "20000").read_text().count(f'"gate {JIM["serial"]}"') == 2
    assert not run(xs_laptop, capsys, join)["changed"]
    assert run(xs_laptop, capsys, {**join, "joins": ""})["changed"]
    assert accounts_of(users)[FURTHER]["learner"] == FURTHER


def test_whom_a_laptop_joins_must_be_there(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(xs_laptop, capsys, JIM)
    answer = run(xs_laptop, capsys, {"serial": JIM["serial"], "joins": "SHC99999999"})
    assert "no laptop is registered as 'SHC99999999'" in answer["msg"]


@pytest.mark.parametrize("again", [JIM, {"serial": JIM["serial"]}], ids=["with its key", "by its serial"])
def test_a_laptop_goes_into_store_once_and_comes_out_of_it(
    users: Path, capsys: pytest.CaptureFixture[str], again: dict[str, Any]
) -> None:
    run(xs_laptop, capsys, JIM)
    before = accounts_of(users)
    assert run(xs_laptop, capsys, {**again, "state": "retired"}, check=True)["changed"]
    assert accounts_of(users) == before
    assert run(xs_laptop, capsys, {**again, "state": "retired"})["changed"]
    assert (users.parent / "keys" / "20000").read_text() == ""
    assert not run(xs_laptop, capsys, {**again, "state": "retired"})["changed"]
    assert run(xs_laptop, capsys, again)["changed"]
    assert accounts_of(users) == before


def test_an_absent_laptop_is_forgotten_and_every_document_stays(
    users: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(xs_laptop, capsys, JIM)
    document = users / JIM["serial"] / "datastore-current" / "story"
    document.write_text("words")
    gone = {"serial": JIM["serial"], "state": "absent"}
    assert run(xs_laptop, capsys, gone, check=True)["changed"]
    assert accounts_of(users)[JIM["serial"]]["names"] == [JIM["serial"]]
    answer = run(xs_laptop, capsys, gone)
    assert answer["changed"]
    assert "documents_deleted" not in answer
    assert (accounts_of(users)[JIM["serial"]]["names"], accounts_of(users)[JIM["serial"]]["keys"]) == ([], [])
    assert document.read_text() == "words"
    assert (users.parent / "extrausers" / "passwd").read_text() == ""
    for absent in (gone, {"serial": "SHC99999999", "state": "absent"}):
        assert not run(xs_laptop, capsys, absent)["changed"]


def test_a_laptop_without_a_key_waits_until_it_registers(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = {"serial": JIM["serial"], "class": "4B"}
    answer = run(xs_laptop, capsys, listed)
    assert (answer["changed"], answer["waiting"]) == (False, [JIM["serial"]])
    assert "login" not in answer
    registrar.register(JIM)
    answer = run(xs_laptop, capsys, listed)
    assert (answer["changed"], answer["waiting"], answer["login"]) == (True, [], JIM["serial"])
    assert accounts_of(users)[JIM["serial"]]["class"] == "4B"


# Documents.


def write_document(tree: Path, number: int) -> None:
    """Put a document into the incoming of `tree`, as Sugar does."""
    name = f"{number:02x}abcdef-0000-4000-8000-{number:012x}"
    properties = tree / "datastore-current" / name[:2] / name / "metadata"
    properties.mkdir(parents=True)
    (properties / "title").write_text(f"Story {number}")


def back_up(tree: Path, when: datetime) -> None:
    """End a run of `tree`, and take its snapshot."""
    (tree / ".state" / "complete").touch()
    assert snapshot.take(tree, when, tree.parents[1] / "state" / "catalog.db")


@pytest.fixture
def archive(library: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """Jim and Ann on btrfs; Jim's laptop, reflashed since, has sent two documents, and then a third in their place."""
    users = stand(library, monkeypatch)
    run(xs_laptop, capsys, {"laptops": [JIM, ANN]})
    tree = users / JIM["serial"]
    for number in (1, 2):
        write_document(tree, number)
    back_up(tree, datetime(2026, 11, 23, tzinfo=UTC))
    shutil.rmtree(tree / "datastore-current" / "01")
    write_document(tree, 3)
    back_up(tree, datetime(2026, 11, 24, tzinfo=UTC))
    run(xs_laptop, capsys, {**JIM, "pubkey": key(2), "joins": JIM["serial"]})
    return users


FOR_EVER = {"serial": JIM["serial"], "state": "absent", "documents": "delete_for_ever"}


def test_documents_that_go_for_ever_are_counted_first_and_then_gone(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promised = run(xs_laptop, capsys, FOR_EVER, check=True)
    assert (archive / JIM["serial"] / "keepsakes").is_dir()
    assert (archive / FURTHER).is_dir()
    done = run(xs_laptop, capsys, FOR_EVER)
    for answer in (promised, done):
        assert answer["changed"]
        assert answer["documents_deleted"] == 3
        assert "3 documents are deleted for ever" in answer["msg"]
        assert JIM["serial"] in answer["diff"]["before"]
        assert answer["diff"]["after"] == ""
    assert [path.name for path in archive.iterdir()] == [ANN["serial"]]
    again = run(xs_laptop, capsys, FOR_EVER)
    assert (again["changed"], again["documents_deleted"]) == (False, 0)


def test_documents_that_another_laptop_was_joined_to_do_not_go(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(xs_laptop, capsys, {"serial": ANN["serial"], "joins": JIM["serial"]})
    for check in (True, False):
        answer = run(xs_laptop, capsys, FOR_EVER, check=check)
        assert answer["failed"]
        assert "separate it first" in answer["msg"]
    assert (archive / JIM["serial"] / "datastore-latest").exists()
    assert accounts_of(archive)[JIM["serial"]]["keys"]


def test_absent_alone_keeps_snapshots_and_keepsakes(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = archive / JIM["serial"]
    before = contents(tree / "datastore") | contents(tree / "keepsakes")
    assert run(xs_laptop, capsys, {"serial": JIM["serial"], "state": "absent"})["changed"]
    assert contents(tree / "datastore") | contents(tree / "keepsakes") == before != {}


# What does not go together.


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "one of the following is required: serial, laptops, csv"),
        ({"serial": "SHC12345678", "laptops": []}, "parameters are mutually exclusive: serial|laptops|csv"),
        ({"laptops": [], "csv": "serial\n"}, "parameters are mutually exclusive: serial|laptops|csv"),
        ({"laptops": [], "nick": "Jim"}, "missing parameter(s) required by 'nick': serial"),
        ({"csv": "serial\n", "joins": ""}, "missing parameter(s) required by 'joins': serial"),
        ({"serial": "SHC12345678", "uuid": JIM["uuid"]}, "parameters are required together: uuid, pubkey"),
        ({"serial": "SHC12345678", "pubkey": key(1)}, "parameters are required together: uuid, pubkey"),
        ({"serial": "SHC12345678", "state": "gone"}, "value of state must be one of: present, absent, retired"),
        ({"serial": "SHC12345678", "documents": "delete"}, "value of documents must be one of: keep, delete_for_ever"),
        ({"serial": "SHC12345678", "documents": "delete_for_ever"}, "goes with one serial and state: absent"),
        (
            {"serial": "SHC12345678", "state": "retired", "documents": "delete_for_ever"},
            "goes with one serial and state: absent",
        ),
        ({"laptops": [], "state": "absent", "documents": "delete_for_ever"}, "goes with one serial and state: absent"),
        ({"laptops": [JIM], "state": "absent"}, "state goes with one serial: in a list each laptop has its own"),
        ({"csv": "serial\n", "state": "retired"}, "state goes with one serial: in a list each laptop has its own"),
        ({"serial": ""}, "a line has no serial"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_what_does_not_go_together_fails_with_one_line(
    users: Path, capsys: pytest.CaptureFixture[str], given: dict[str, Any], why: str, check: bool
) -> None:
    answer = run(xs_laptop, capsys, given, check=check)
    assert answer["failed"]
    assert why in answer["msg"]
    assert "\n" not in answer["msg"]
    assert list(users.iterdir()) == []
