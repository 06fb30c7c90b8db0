# SPDX-License-Identifier: GPL-3.0-or-later
"""What the registrar does on disk and answers at its socket; what it decides is test_policy.py."""

from __future__ import annotations

import pwd
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from laptops import ANN, JIM, dsa, message
from schoolserver import accounts, audit, local_server, local_socket, refusals, registrar, registry, trees
from schoolserver.accounts import Account
from schoolserver.errors import Refusal
from schoolserver.house import House
from schoolserver.limits import BURST, NewAccounts
from schoolserver.local_socket import Message
from schoolserver.policy import CLOSED, Plan, Rules
from schoolserver.registrar import Desk
from standing import everything, make_house


@pytest.fixture
def house(tmp_path: Path) -> House:
    return make_house(tmp_path)


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
def asked(house: House, *messages: Message, rules: Callable[[], Rules] = Rules) -> Iterator[list[Message]]:
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
        registrar.serve(listener, Desk(house, rules))
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
    first, second = registrar.register_all([message(JIM, dsa(0)), message(ANN, dsa(1))], house, Rules())
    assert isinstance(first, OSError)
    assert isinstance(second, Plan)
    monkeypatch.undo()
    assert registrar.register(message(JIM, dsa(0)), house).account.uid == 20000
    assert second.account.uid == 20001


def test_only_root_and_registration_may_ask(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda name: a_user(name, 977))
    monkeypatch.setattr(local_server, "peer_uid", lambda connection: 20000)
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


def test_who_was_refused_is_written_down_until_it_is_in(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda name: a_user(name, 20000))
    wrong = REGISTER | message("SHC\x1b[2J", nick="Ann\n") | {"address": "172.18.0.77"}
    with asked(house, wrong, wrong, REGISTER | message(ANN, dsa(1)), rules=lambda: Rules(CLOSED)):
        pass
    (house.state / "socket").unlink()
    first, second = refusals.read(house.state / "refusals.json")
    assert (first.serial, first.nick, first.address, first.times) == ("SHC?[2J", "Ann?", "172.18.0.77", 2)
    assert second.serial == ANN
    assert "takes no new laptops" in second.why
    with asked(house, REGISTER | message(ANN, dsa(1))) as answers:
        assert answers[0]["ok"]
    assert [one.serial for one in refusals.read(house.state / "refusals.json")] == ["SHC?[2J"]


def test_only_new_accounts_of_one_address_are_limited(house: House) -> None:
    limits = NewAccounts()
    for _ in range(BURST):
        limits.spend("172.18.0.77", 1e12)  # as the clock of this machine will never say
    first = message(JIM, dsa(0)) | {"address": "172.18.0.77"}
    (refused,) = registrar.register_all([first], house, Rules(), limits)
    assert "too many new laptops registered from here" in str(refused)
    elsewhere = first | {"address": "172.18.0.78"}
    (plan,) = registrar.register_all([elsewhere], house, Rules(), limits)
    assert isinstance(plan, Plan)
    (again,) = registrar.register_all([first], house, Rules(), limits)
    assert isinstance(again, Plan)


def test_the_trail_tells_who_came_with_what_and_no_change_of_nick(house: House) -> None:
    registrar.register(message() | {"address": "172.18.0.77"}, house)
    registrar.register(message(nick="James"), house)
    registrar.register(message("ABC12345678"), house)
    registrar.register(message(key=dsa(1)), house)
    told = [(entry.who, entry.where, entry.tree, entry.what) for entry in audit.read(house.audit)]
    assert told == [
        (f"laptop {JIM}", "172.18.0.77", JIM, "new tree"),
        ("laptop ABC12345678", "", JIM, "new login name ABC12345678"),
        (f"laptop {JIM}", "", f"{JIM}.2", "new key, tree apart"),
    ]


def test_settings_that_cannot_be_read_let_nobody_in_and_are_in_the_log(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda name: a_user(name, 20000))

    def broken() -> Rules:
        raise Refusal("/etc/xs/registration.toml: newcomers must be one of open, list, closed")

    with asked(house, REGISTER | message(), rules=broken) as answers:
        assert "ask the school's technician" in answers[0]["error"]
    assert "newcomers must be one of" in capsys.readouterr().err
    assert list(house.users.iterdir()) == []


@pytest.mark.parametrize("address", ["172.18.0.77", "::ffff:172.18.0.77", "::FFFF:AC12:4D"])
def test_a_laptops_address_is_written_as_people_write_it(
    house: House, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda name: a_user(name, 20000))
    with asked(house, REGISTER | message() | {"address": address}) as answers:
        assert answers[0]["ok"]
    assert audit.read(house.audit)[0].where == "172.18.0.77"


@pytest.mark.parametrize("address", ["", "\ud800", None, 7, ["172.18.0.77"], "172.18.0.77\n"])
def test_registration_taken_over_cannot_leave_out_or_forge_an_address(
    house: House, monkeypatch: pytest.MonkeyPatch, address: object
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda name: a_user(name, 20000))
    with asked(house, REGISTER | message() | {"address": address}) as answers:
        assert answers[0]["ok"]
    assert audit.read(house.audit)[0].where == "unknown"
