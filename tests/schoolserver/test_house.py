# SPDX-License-Identifier: GPL-3.0-or-later
"""The accounts on disk, what is derived from them, and what the next start mends."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from laptops import ANN, EVE, JIM, after, dsa, message, request
from schoolserver import accounts, house, registrar, registry
from schoolserver.accounts import HANDED_ON, Approval, Known
from schoolserver.errors import Refusal
from schoolserver.house import House
from standing import everything, make_house


@pytest.fixture
def here(tmp_path: Path) -> House:
    return make_house(tmp_path)


def test_of_two_trees_that_claim_one_key_the_older_keeps_it() -> None:
    account = after(request()).accounts[JIM]
    copy = replace(account, tree=ANN, names=(ANN,), uid=20001, registered="2026-12-01T10:00:00Z")
    known = house.consistent(Known({ANN: copy, JIM: account}))
    assert list(known.accounts) == [JIM]
    assert known.damaged == {ANN: f"it has a name or a key that {JIM} has"}


def test_a_laptop_that_was_handed_on_is_the_new_accounts_even_where_the_old_one_still_claims_it() -> None:
    account = after(request()).accounts[JIM]
    handed = Approval(HANDED_ON, JIM, "2026-12-01T10:00:00Z", "maria")
    # Also where the clock went back in between.
    for registered in ("2026-12-01T10:00:00Z", "1970-01-01T00:00:00Z"):
        new = replace(account, tree=f"{JIM}.2", uid=20001, registered=registered, approvals=(handed,))
        known = house.consistent(Known({JIM: account, f"{JIM}.2": new}))
        assert known.damaged == {}
        assert known.accounts == {JIM: replace(account, names=(), keys=()), f"{JIM}.2": new}


def test_what_is_derived_comes_back_from_the_library_alone(here: House, tmp_path: Path) -> None:
    for number, serial in enumerate((JIM, ANN, EVE)):
        registrar.register(message(serial, dsa(number)), here)
    registrar.register(message(JIM, dsa(7)), here)
    before = everything(tmp_path)
    for directory in (here.state, here.extrausers, here.keys, here.learners):
        for file in directory.iterdir():
            file.unlink()
    house.derive(here)
    assert everything(tmp_path) == before


def test_a_half_made_tree_is_made_whole_at_the_next_start(here: House, tmp_path: Path) -> None:
    registrar.register(message(), here)
    before = everything(tmp_path)
    tree = here.users / JIM
    (tree / "documents").rmdir()
    (tree / "datastore-current" / "index").rmdir()
    (tree / "datastore-current" / "checksums").rmdir()
    (tree / "datastore-current").rmdir()
    (tree / ".state").chmod(0o777)
    os.chown(tree / "power-logs", 0, 0)
    (here.users / ".new").mkdir()
    (here.users / ".new" / "account.json").write_text("{")
    house.derive(here)
    registrar.register(message(ANN, dsa(1)), here)
    after_repair = everything(tmp_path)
    assert {path: after_repair[path] for path in before if path.startswith(f"users/{JIM}")} == {
        path: before[path] for path in before if path.startswith(f"users/{JIM}")
    }
    assert not (here.users / ".new").exists()


def test_a_broken_account_stops_nobody_else(here: House, capsys: pytest.CaptureFixture[str]) -> None:
    registrar.register(message(), here)
    (here.users / JIM / "account.json").write_text("{")
    house.derive(here)
    registrar.register(message(ANN, dsa(1)), here)
    assert f"skipped {here.users / JIM / 'account.json'}: it is not JSON" in capsys.readouterr().err
    assert registry.tree_of(ANN, here.state / "registry.db") == ANN
    assert accounts.read_all(here.users).accounts[ANN].uid == 20001


def test_one_tree_that_cannot_be_mended_stops_nobody_else(here: House, capsys: pytest.CaptureFixture[str]) -> None:
    registrar.register(message(JIM, dsa(0)), here)
    registrar.register(message(ANN, dsa(1)), here)
    (here.users / JIM / "documents").rmdir()
    (here.users / JIM / "documents").symlink_to("/etc")
    (here.extrausers / "passwd").unlink()
    house.derive(here)
    assert f"{JIM} is damaged and stays as it is" in capsys.readouterr().err
    assert len((here.extrausers / "passwd").read_text().splitlines()) == 2


def test_accounts_of_the_first_format_are_read_and_written_in_this_one(here: House) -> None:
    registrar.register(message(), here)
    file = here.users / JIM / "account.json"
    old = json.loads(file.read_text())
    for name in ("class", "retired"):
        del old[name]
    file.write_text(json.dumps({**old, "format": 1}))
    house.derive(here)
    registrar.register(message(nick="James"), here)
    assert json.loads(file.read_text()) == {**old, "format": 2, "nick": "James", "class": "", "retired": ""}


def schema(file: Path, version: int) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA user_version = {version}")


def test_a_registry_of_an_older_server_is_written_anew_and_one_of_a_newer_stops_this_one(here: House) -> None:
    registrar.register(message(), here)
    file = here.state / "registry.db"
    schema(file, 1)
    house.derive(here)
    assert registry.tree_of(JIM, file) == JIM
    schema(file, registry.SCHEMA + 1)
    with pytest.raises(Refusal, match=r"registry.db: its schema is 3.*install the newer package"):
        house.derive(here)
