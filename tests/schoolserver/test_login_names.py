# SPDX-License-Identifier: GPL-3.0-or-later
"""passwd, group and key files: what sshd and the kernel will believe."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from laptops import ANN, JIM, after, dsa, request
from schoolserver import login_names

KNOWN = after(request(JIM, 0), request(ANN, 1), request("ABC12345678", 1), request(JIM, 2))
EVERYONE = list(KNOWN.accounts.values())


def test_each_login_name_has_its_uid_no_password_and_the_gate_as_shell() -> None:
    assert login_names.passwd(EVERYONE).splitlines() == [
        f"ABC12345678:*:20001:20001::/library/users/{ANN}:/usr/lib/schoolserver/gate",
        f"{JIM}:*:20000:20000::/library/users/{JIM}:/usr/lib/schoolserver/gate",
        f"{ANN}:*:20001:20001::/library/users/{ANN}:/usr/lib/schoolserver/gate",
    ]


def test_each_learner_has_a_group_of_her_own_and_all_are_matched_by_one_that_owns_nothing() -> None:
    assert login_names.group(EVERYONE).splitlines() == [
        f"xs-learners:*:19999:ABC12345678,{JIM},{ANN}",
        f"{JIM}:*:20000:",
        f"{ANN}:*:20001:",
    ]


def test_a_key_opens_its_own_tree_through_the_gate_and_nothing_else() -> None:
    assert login_names.key_files(EVERYONE) == {
        20000: f'restrict,command="gate {JIM}" ssh-dss {dsa(0)}\nrestrict,command="gate {JIM}.2" ssh-dss {dsa(2)}\n',
        20001: f'restrict,command="gate {ANN}" ssh-dss {dsa(1)}\n',
    }


def test_the_nick_stands_nowhere() -> None:
    named = [replace(account, nick="x:0:0:\nroot") for account in EVERYONE]
    assert login_names.passwd(named) == login_names.passwd(EVERYONE)
    assert login_names.group(named) == login_names.group(EVERYONE)
    assert login_names.key_files(named) == login_names.key_files(EVERYONE)


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    for name in ("extrausers", "keys"):
        (tmp_path / name).mkdir()
    login_names.write(EVERYONE, tmp_path / "extrausers", tmp_path / "keys")
    return tmp_path


def test_a_key_file_can_be_read_by_its_learner_and_no_other(etc: Path) -> None:
    status = (etc / "keys" / "20001").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 0, 20001)
    assert stat.S_IMODE((etc / "extrausers" / "passwd").stat().st_mode) == 0o644


def test_what_is_right_already_is_not_written(etc: Path) -> None:
    before = {path: path.stat().st_ino for path in etc.rglob("*")}
    login_names.write(EVERYONE, etc / "extrausers", etc / "keys")
    assert {path: path.stat().st_ino for path in etc.rglob("*")} == before


def test_what_somebody_changed_by_hand_is_put_right(etc: Path) -> None:
    (etc / "keys" / "20000").write_text("ssh-rsa AAAA mallory\n")
    (etc / "keys" / "20001").chmod(0o666)
    (etc / "extrausers" / "passwd").write_bytes(b"\xff")
    login_names.write(EVERYONE, etc / "extrausers", etc / "keys")
    assert (etc / "keys" / "20000").read_text() == login_names.key_files(EVERYONE)[20000]
    assert stat.S_IMODE((etc / "keys" / "20001").stat().st_mode) == 0o640
    assert (etc / "extrausers" / "passwd").read_text() == login_names.passwd(EVERYONE)


def test_the_keys_of_an_account_that_has_gone_go_and_a_technicians_own_file_stays(etc: Path) -> None:
    (etc / "keys" / "1000").write_text("a technician's")
    login_names.write([KNOWN.accounts[ANN]], etc / "extrausers", etc / "keys")
    assert sorted(path.name for path in (etc / "keys").iterdir()) == ["1000", "20001"]
    assert JIM not in (etc / "extrausers" / "passwd").read_text()
