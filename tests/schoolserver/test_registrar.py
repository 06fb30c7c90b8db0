# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is who: the case table of docs/architecture.md, as decided and as it then stands on disk."""

from __future__ import annotations

import os
import pwd
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptops import ANN, EVE, JIM, NOW, after, dsa, message, request
from schoolserver import accounts, local_socket, registrar, registry, trees
from schoolserver.accounts import LAST_UID, Account, Known
from schoolserver.errors import Refusal
from schoolserver.local_socket import Message
from schoolserver.registrar import House, Plan, Request, decide


def test_a_new_serial_with_a_new_key_gets_a_tree() -> None:
    plan = decide(after(request(ANN, key=1)), request(JIM), NOW)
    account = plan.account
    assert (account.tree, account.learner, account.names, account.uid) == (JIM, JIM, (JIM,), 20001)
    assert (plan.login, plan.new, plan.changed) == (JIM, True, True)
    assert account.registered == account.keys[0].since == "2026-11-23T10:00:00Z"


def test_registering_again_unchanged_changes_nothing() -> None:
    plan = decide(after(request()), request(), NOW)
    assert (plan.login, plan.new, plan.changed) == (JIM, False, False)


def test_a_new_nick_changes_the_nick_and_nothing_else() -> None:
    known = after(request())
    plan = decide(known, request(nick="James"), NOW)
    assert plan.account == replace(known.accounts[JIM], nick="James")
    assert plan.changed


def test_a_known_key_under_a_new_serial_is_the_same_laptop() -> None:
    plan = decide(after(request()), request("ABC12345678"), NOW)
    assert (plan.account.tree, plan.account.names, plan.login) == (JIM, (JIM, "ABC12345678"), "ABC12345678")
    assert not plan.new


def test_a_known_serial_with_a_new_key_works_apart_from_the_old_documents() -> None:
    plan = decide(after(request(key=0)), request(key=1), NOW)
    account = plan.account
    assert (account.tree, account.learner, account.uid, plan.login) == (f"{JIM}.2", f"{JIM}.2", 20000, JIM)
    assert account.keys[0].blob == dsa(1)
    assert account.names == ()


def test_each_further_key_of_a_serial_gets_a_tree_of_its_own() -> None:
    known = after(request(key=0), request(key=1), request(key=2))
    assert list(known.accounts) == [JIM, f"{JIM}.2", f"{JIM}.3"]
    assert decide(known, request(key=1, nick="J"), NOW).account.tree == f"{JIM}.2"


def test_a_further_trees_key_under_a_new_serial_stays_in_its_own_tree() -> None:
    plan = decide(after(request(key=0), request(key=1)), request("ABC12345678", key=1), NOW)
    assert (plan.account.tree, plan.account.names) == (f"{JIM}.2", ("ABC12345678",))


def test_another_learners_key_opens_its_own_tree_and_nothing_of_the_serials_owner() -> None:
    known = after(request(JIM, key=0), request(ANN, key=1))
    plan = decide(known, request(JIM, key=1, nick="Ann"), NOW)
    assert (plan.account.tree, plan.login) == (ANN, ANN)
    assert plan.account.names == (ANN,)


def test_a_uid_is_never_used_twice_even_where_the_account_is_unreadable() -> None:
    known = Known(damaged={EVE: "not JSON"}, uids=frozenset({20004}))
    assert decide(known, request(), NOW).account.uid == 20005


def test_a_serial_whose_account_is_damaged_is_refused_until_a_person_has_looked() -> None:
    with pytest.raises(Refusal, match="technician"):
        decide(Known(damaged={JIM: "not JSON"}), request(), NOW)


def test_a_tree_that_nobody_names_any_more_is_never_taken_over() -> None:
    known = after(request())
    known = Known({JIM: replace(known.accounts[JIM], names=())}, {}, known.uids)
    plan = decide(known, request(key=1), NOW)
    assert (plan.account.tree, plan.account.uid, plan.account.names) == (f"{JIM}.2", 20001, (JIM,))


def test_when_all_uids_are_taken_the_laptop_hears_it() -> None:
    with pytest.raises(Refusal, match="no room"):
        decide(Known(uids=frozenset({LAST_UID})), request(), NOW)


SERIALS, KEYS = st.sampled_from([JIM, ANN, EVE]), st.integers(0, 3)


@given(st.lists(st.builds(request, SERIALS, KEYS)))
def test_whatever_registers_each_key_writes_one_tree_and_each_name_has_one_uid(requests: list[Request]) -> None:
    known = after(*requests)
    keys = [key.blob for account in known.accounts.values() for key in account.keys]
    names = [name for account in known.accounts.values() for name in account.names]
    assert len(keys) == len(set(keys)) == len({each.key for each in requests})
    assert len(names) == len(set(names))
    assert registrar.consistent(known) == known
    for account in known.accounts.values():
        # A session logs in under the serial: that name must lead to the uid that owns the tree.
        owner = next(other for other in known.accounts.values() if account.serial in other.names)
        assert owner.uid == account.uid


@given(st.lists(st.builds(request, SERIALS, KEYS)))
def test_whatever_registers_two_first_trees_share_no_uid(requests: list[Request]) -> None:
    firsts = [account for account in after(*requests).accounts.values() if "." not in account.tree]
    assert len(firsts) == len({account.uid for account in firsts})


def test_of_two_trees_that_claim_one_key_the_older_keeps_it() -> None:
    account = after(request()).accounts[JIM]
    copy = replace(account, tree=ANN, names=(ANN,), uid=20001, registered="2026-12-01T10:00:00Z")
    known = registrar.consistent(Known({ANN: copy, JIM: account}))
    assert list(known.accounts) == [JIM]
    assert known.damaged == {ANN: f"it has a name or a key that {JIM} has"}


@pytest.mark.parametrize("field", ["serial", "nick", "uuid", "pubkey"])
@pytest.mark.parametrize("value", [None, 1, ["x"], {"a": 1}])
def test_a_field_that_is_no_text_is_refused(field: str, value: object) -> None:
    with pytest.raises(Refusal, match="as text"):
        registrar.check(message() | {field: value})


# From here on the disk.


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path / "users", tmp_path / "state", tmp_path / "extrausers", tmp_path / "keys")
    for directory in (house.users, house.state, house.extrausers, house.keys):
        directory.mkdir()
    return house


def everything(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Every file below `directory` with mode, owners and content."""
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and path.name != "registry.db" else b""
        found[str(path.relative_to(directory))] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


def test_after_registration_everything_that_a_backup_needs_is_there(house: House) -> None:
    plan = registrar.register(message(), house)
    assert accounts.read_all(house.users).accounts == {JIM: plan.account}
    assert registry.tree_of(JIM, house.state / "registry.db") == JIM
    assert f"{JIM}:*:20000:20000::" in (house.extrausers / "passwd").read_text()
    assert (house.keys / "20000").read_text() == f'restrict,command="gate {JIM}" ssh-dss {dsa()}\n'
    assert (house.users / JIM / "datastore-current").stat().st_uid == 20000


def test_registering_again_leaves_every_byte_as_it_is(house: House, tmp_path: Path) -> None:
    registrar.register(message(), house)
    before = everything(tmp_path)
    assert not registrar.register(message(), house).changed
    assert everything(tmp_path) == before


def test_a_stranger_who_claims_a_serial_leaves_the_owners_tree_alone(house: House) -> None:
    registrar.register(message(), house)
    before = everything(house.users / JIM)
    plan = registrar.register(message(key=dsa(1), nick="Eve"), house)
    assert plan.account.tree == f"{JIM}.2"
    assert everything(house.users / JIM) == before
    assert (house.keys / "20000").read_text().splitlines() == [
        f'restrict,command="gate {JIM}" ssh-dss {dsa(0)}',
        f'restrict,command="gate {JIM}.2" ssh-dss {dsa(1)}',
    ]


def test_what_is_derived_comes_back_from_the_library_alone(house: House, tmp_path: Path) -> None:
    for number, serial in enumerate((JIM, ANN, EVE)):
        registrar.register(message(serial, dsa(number)), house)
    registrar.register(message(JIM, dsa(7)), house)
    before = everything(tmp_path)
    for directory in (house.state, house.extrausers, house.keys):
        for file in directory.iterdir():
            file.unlink()
    registrar.derive(house)
    assert everything(tmp_path) == before


def test_a_half_made_tree_is_made_whole_at_the_next_start(house: House, tmp_path: Path) -> None:
    registrar.register(message(), house)
    before = everything(tmp_path)
    tree = house.users / JIM
    (tree / "documents").rmdir()
    (tree / "datastore-current" / "index").rmdir()
    (tree / "datastore-current" / "checksums").rmdir()
    (tree / "datastore-current").rmdir()
    (tree / ".state").chmod(0o777)
    os.chown(tree / "power-logs", 0, 0)
    (house.users / ".new").mkdir()
    (house.users / ".new" / "account.json").write_text("{")
    registrar.derive(house)
    registrar.register(message(ANN, dsa(1)), house)
    after_repair = everything(tmp_path)
    assert {path: after_repair[path] for path in before if path.startswith(f"users/{JIM}")} == {
        path: before[path] for path in before if path.startswith(f"users/{JIM}")
    }
    assert not (house.users / ".new").exists()


def test_a_broken_account_stops_nobody_else(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    registrar.register(message(), house)
    (house.users / JIM / "account.json").write_text("{")
    registrar.derive(house)
    registrar.register(message(ANN, dsa(1)), house)
    assert f"skipped {house.users / JIM / 'account.json'}: it is not JSON" in capsys.readouterr().err
    assert registry.tree_of(ANN, house.state / "registry.db") == ANN
    assert accounts.read_all(house.users).accounts[ANN].uid == 20001


def test_a_refused_registration_leaves_nothing_behind(house: House, tmp_path: Path) -> None:
    registrar.register(message(ANN, dsa(1)), house)
    before = everything(tmp_path)
    for wrong in (message(key="AAAA"), message("SHF00000000"), message("../../../x"), message(uuid="x")):
        with pytest.raises(Refusal):
            registrar.register(wrong, house)
    assert everything(tmp_path) == before


def test_laptops_that_register_at_the_same_moment_get_different_uids(house: House) -> None:
    serials = [f"SHC{number:08}" for number in range(12)]
    threads = [
        threading.Thread(target=registrar.register, args=(message(serial, dsa(number)), house))
        for number, serial in enumerate(serials)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known = accounts.read_all(house.users)
    assert {account.uid for account in known.accounts.values()} == set(range(20000, 20012))
    assert len((house.extrausers / "passwd").read_text().splitlines()) == 12


def a_user(name: str, uid: int) -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "*", uid, uid, "", "/", "/bin/false"))


@contextmanager
def asked(house: House, *messages: Message) -> Iterator[list[Message]]:
    """What the registrar answers when `messages` wait together at its socket."""
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as stack:
        listener.bind(str(house.state / "socket"))
        listener.listen()
        connections = []
        for each in messages:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(house.state / "socket"))
            if each:
                local_socket.send(connection, each)
            connections.append(connection)
        registrar.serve(listener, house)
        yield [local_socket.receive(connection) for connection in connections if connection.recv(1, socket.MSG_PEEK)]


REGISTER: Message = {"op": "register"}


def test_requests_that_wait_together_are_each_answered_for_themselves(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda name: a_user(name, 20000))
    written = []

    def count(*given: Any, write: Any = registry.write) -> None:
        written.append(given)
        write(*given)

    monkeypatch.setattr(registry, "write", count)
    with asked(
        house,
        REGISTER | message(JIM, dsa(0)),
        REGISTER | message("SHF00000000", dsa(1)),
        REGISTER | message(ANN, dsa(2)),
        REGISTER | message(JIM, dsa(3)),
        {"op": "remove"},
    ) as answers:
        assert answers == [
            {"ok": True, "login": JIM, "tree": JIM},
            {"ok": False, "error": answers[1]["error"]},
            {"ok": True, "login": ANN, "tree": ANN},
            {"ok": True, "login": JIM, "tree": f"{JIM}.2"},
            {"ok": False, "error": "the registrar knows one operation: register"},
        ]
        assert "install the school's laptop package" in answers[1]["error"]
    assert {account.uid for account in accounts.read_all(house.users).accounts.values()} == {20000, 20001}
    assert len(written) == 1


def test_an_asker_that_says_nothing_or_leaves_stops_nobody(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda name: a_user(name, 20000))
    monkeypatch.setattr(registrar, "_SECONDS", 0.1)
    with asked(house, {}, REGISTER | message()) as answers:
        assert answers == [{"ok": True, "login": JIM, "tree": JIM}]


def test_a_registration_that_fails_half_way_gives_its_uid_to_nobody_else(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_for_jim(users: Path, account: Account, complete: Any = trees.complete) -> None:
        if account.tree == JIM:
            raise OSError("no space left on device")
        complete(users, account)

    monkeypatch.setattr(trees, "complete", fail_for_jim)
    first, second = registrar.register_all([message(JIM, dsa(0)), message(ANN, dsa(1))], house)
    assert isinstance(first, OSError)
    assert isinstance(second, Plan)
    monkeypatch.undo()
    assert registrar.register(message(JIM, dsa(0)), house).account.uid == 20000
    assert second.account.uid == 20001


def test_one_tree_that_cannot_be_mended_stops_nobody_else(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    registrar.register(message(JIM, dsa(0)), house)
    registrar.register(message(ANN, dsa(1)), house)
    (house.users / JIM / "documents").rmdir()
    (house.users / JIM / "documents").symlink_to("/etc")
    (house.extrausers / "passwd").unlink()
    registrar.derive(house)
    assert f"{JIM} is damaged and stays as it is" in capsys.readouterr().err
    assert len((house.extrausers / "passwd").read_text().splitlines()) == 2


def test_only_root_and_registration_may_ask(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda name: a_user(name, 977))
    monkeypatch.setattr(local_socket, "peer_uid", lambda connection: 20000)
    with asked(house, REGISTER | message()) as answers:
        assert answers == [{"ok": False, "error": "only registration may ask the registrar"}]
    assert list(house.users.iterdir()) == []


def test_where_the_disk_refuses_the_laptop_hears_no_ok_and_the_next_try_succeeds(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda name: a_user(name, 20000))
    house.extrausers.rmdir()
    with asked(house, REGISTER | message()) as answers:
        assert answers == [
            {"ok": False, "error": "the school server could not write the account: ask the school's technician"}
        ]
    house.extrausers.mkdir()
    (house.state / "socket").unlink()
    with asked(house, REGISTER | message()) as answers:
        assert answers == [{"ok": True, "login": JIM, "tree": JIM}]
    assert JIM in (house.extrausers / "passwd").read_text()


def test_a_serial_that_is_an_account_of_the_server_itself_is_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda name: a_user(name, 1000))
    with pytest.raises(Refusal, match="account of the school server itself"):
        registrar.register(message(), house)
    assert list(house.users.iterdir()) == []
