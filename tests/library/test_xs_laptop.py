# SPDX-License-Identifier: GPL-3.0-or-later
"""xs_laptop registers as the service does, and says beforehand exactly what it will do."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

import xs_laptop
from running import run
from schoolserver import paths, policy, registrar
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


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A school server's directories under a temporary one."""
    house = House(tmp_path / "users", tmp_path / "state", tmp_path / "extrausers", tmp_path / "keys")
    for directory in (house.users, house.state, house.extrausers, house.keys):
        directory.mkdir()
    monkeypatch.setattr(xs_laptop, "House", lambda: house)
    monkeypatch.setattr(registrar, "House", lambda: house)
    monkeypatch.setattr(paths, "USERS", house.users)
    return house.users


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
