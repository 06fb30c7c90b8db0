# SPDX-License-Identifier: GPL-3.0-or-later
"""account.json, written and read back, whole and broken."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

import laptops
from schoolserver import accounts
from schoolserver.accounts import Account
from schoolserver.errors import Refusal

JIM = laptops.after(laptops.request()).accounts[laptops.JIM]


def put(users: Path, account: Account) -> Path:
    tree = users / account.tree
    tree.mkdir()
    accounts.write(users, account)
    return tree / accounts.FILE


def test_an_account_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = put(tmp_path, JIM)
    known = accounts.read_all(tmp_path)
    assert known.accounts == {laptops.JIM: JIM}
    assert known.uids == {JIM.uid}
    assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_gid) == (0o640, JIM.uid)


def test_the_file_is_what_the_architecture_page_says() -> None:
    assert list(json.loads(accounts.to_json(JIM))) == [
        "format", "tree", "learner", "names", "uid", "keys", "nick", "uuid", "registered", "approvals",
        "retired", "class",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"format": accounts.FORMAT + 1},
        {"uid": 0},
        {"uid": "20000"},
        {"uid": True},
        {"tree": "SHC99999999"},
        {"learner": "../../etc"},
        {"names": ["root"]},
        {"names": ["SHC11111111\nroot:x:0:0::/:/bin/sh"]},
        {"names": 5},
        {"keys": [{"type": "ssh-rsa", "blob": 'x command="sh"', "since": ""}]},
        {"keys": [{"type": "ssh-rsa"}]},
        {"nick": None},
        {"registered": "\ud800"},
        {"approvals": [1]},
        {"approvals": [{"did": "blessed", "tree": "SHC11111111", "when": "", "by": ""}]},
        {"approvals": [{"did": "joined", "tree": "../x", "when": "", "by": ""}]},
        {"class": None},
        {"retired": True},
    ],
    ids=str,
)
def test_a_broken_account_is_named_and_the_others_are_read(change: dict[str, object], tmp_path: Path) -> None:
    put(tmp_path, laptops.after(laptops.request(laptops.ANN)).accounts[laptops.ANN])
    file = put(tmp_path, JIM)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    known = accounts.read_all(tmp_path)
    assert list(known.accounts) == [laptops.ANN]
    assert list(known.damaged) == [laptops.JIM]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\0"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        accounts.from_json(text, laptops.JIM)


def test_a_tree_without_an_account_is_damaged_and_its_uid_stays_taken(tmp_path: Path) -> None:
    tree = tmp_path / laptops.JIM
    tree.mkdir()
    os.chown(tree, 0, 20007)
    known = accounts.read_all(tmp_path)
    assert list(known.damaged) == [laptops.JIM]
    assert known.uids == {20007}


def test_hidden_directories_files_and_links_are_no_trees(tmp_path: Path) -> None:
    (tmp_path / ".new").mkdir()
    (tmp_path / "lost+found.txt").write_text("")
    (tmp_path / "SHC44444444").symlink_to(tmp_path / ".new")
    known = accounts.read_all(tmp_path)
    assert not known.accounts
    assert not known.damaged
