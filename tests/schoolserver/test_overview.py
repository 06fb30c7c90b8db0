# SPDX-License-Identifier: GPL-3.0-or-later
"""What a technician sees of the laptops, against what stands on the disk."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from laptops import ANN, JIM, NOW, UUID, dsa, ed25519, message, rsa
from schoolserver import accounts, acts, house, overview, refusals, registrar, seen
from schoolserver.audit import Who
from schoolserver.house import House
from standing import make_house

MARIA = Who("maria", "172.18.0.20")
FURTHER = f"{JIM}.2"


@pytest.fixture
def here(tmp_path: Path) -> House:
    """Jim, Ann, and Jim's laptop again with another key."""
    here = make_house(tmp_path)
    registrar.register(message(JIM, dsa(0)), here)
    registrar.register(message(ANN, ed25519(1), nick="Ann"), here)
    registrar.register(message(JIM, dsa(2), nick="Jimmy"), here)
    return here


def laptops(here: House) -> dict[str, dict[str, Any]]:
    return {one["tree"]: one for one in overview.everything(here, here.state / "seen.json")["laptops"]}


def test_of_a_laptop_all_is_told_that_its_account_says(here: House) -> None:
    known = house.read(here)
    accounts.write(here.users, replace(known.accounts[JIM], class_name="4B"))
    jim = laptops(here)[JIM]
    assert {name: value for name, value in jim.items() if name not in ("registered", "keys")} == {
        "tree": JIM, "learner": JIM, "login": JIM, "names": (JIM,), "writes": JIM, "uid": 20000, "nick": "Jim",
        "class": "4B", "state": "in use", "uuid": UUID, "latest": None, "address": "", "client": "", "seen": "",
        "approvals": [],
    }  # fmt: skip


def test_a_new_key_waits_beside_its_serial_until_a_person_has_said_whose_it_is(here: House) -> None:
    further = laptops(here)[FURTHER]
    assert (further["state"], further["login"], further["names"], further["writes"]) == ("waiting", JIM, (), FURTHER)
    acts.approve(here, JIM, None, MARIA)
    further = laptops(here)[FURTHER]
    assert (further["state"], further["learner"], further["writes"]) == ("in use", JIM, JIM)
    assert [(one["did"], one["tree"], one["by"]) for one in further["approvals"]] == [
        ("joined", JIM, "maria from 172.18.0.20")
    ]


def test_in_store_and_removed_are_told_apart(here: House) -> None:
    acts.retire(here, JIM, MARIA)
    acts.remove(here, ANN, MARIA)
    assert {tree: one["state"] for tree, one in laptops(here).items()} == {
        JIM: "retired",
        ANN: "removed",
        FURTHER: "waiting",
    }


def test_who_registered_first_comes_first(here: House) -> None:
    file = here.users / ANN / "account.json"
    account = json.loads(file.read_text())
    file.write_text(json.dumps({**account, "registered": "2020-01-01T00:00:00Z"}))
    assert list(laptops(here)) == [ANN, JIM, FURTHER]


def test_the_newest_snapshot_is_that_of_the_tree_that_the_laptop_writes(here: House) -> None:
    acts.approve(here, JIM, None, MARIA)
    (here.users / JIM / "datastore-latest").symlink_to("datastore/2026-11-24T101500Z")
    (here.users / FURTHER / "datastore-latest").symlink_to("datastore/2026-11-23T101500Z")
    assert {tree: one["latest"] for tree, one in laptops(here).items()} == {
        JIM: "2026-11-24T101500Z",
        FURTHER: "2026-11-24T101500Z",
        ANN: None,
    }
    acts.separate(here, JIM, MARIA)
    assert laptops(here)[FURTHER]["latest"] == "2026-11-23T101500Z"


def test_where_it_was_seen_last_is_told_of_the_tree_that_it_writes(here: House) -> None:
    acts.approve(here, JIM, None, MARIA)
    seen.note(here.state / "seen.json", JIM, "172.18.0.77", "Python-urllib/2.7", NOW)
    found = laptops(here)
    for tree in (JIM, FURTHER):
        assert [found[tree][name] for name in ("address", "client", "seen")] == [
            "172.18.0.77",
            "Python-urllib/2.7",
            "2026-11-23T10:00:00Z",
        ]
    assert found[ANN]["address"] == ""


def test_an_account_that_cannot_be_read_is_named_and_hides_no_other(here: House) -> None:
    (here.users / JIM / "account.json").write_text("{")
    everything = overview.everything(here, here.state / "seen.json")
    assert everything["damaged"] == [{"tree": JIM, "why": "it is not JSON"}]
    assert {one["tree"] for one in everything["laptops"]} == {ANN, FURTHER}


def test_who_was_refused_is_told(here: House) -> None:
    refused = refusals.add([], message("SHF00000000"), "no one's", "2026-11-23T10:00:00Z")
    refusals.write(here.state / "refusals.json", refused, 0)
    (one,) = overview.everything(here)["refused"]
    assert (one["serial"], one["why"], one["times"]) == ("SHF00000000", "no one's", 1)


def test_all_of_it_is_json(here: House) -> None:
    everything = overview.everything(here, here.state / "seen.json")
    assert list(json.loads(json.dumps(everything))) == ["laptops", "damaged", "refused"]


def test_the_trail_of_a_tree_is_its_own(here: House) -> None:
    acts.retire(here, JIM, MARIA)
    assert [(entry["who"], entry["what"]) for entry in overview.trail(JIM, here)] == [
        (f"laptop {JIM}", "new tree"),
        ("maria", f"{JIM} is in store; its documents stay where they are"),
    ]
    assert [entry["what"] for entry in overview.trail(FURTHER, here)] == ["new key, tree apart"]
    assert overview.trail("SHC99999999", here) == []


def test_an_empty_school_has_no_laptops(tmp_path: Path) -> None:
    assert overview.everything(make_house(tmp_path)) == {"laptops": [], "damaged": [], "refused": []}


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
@pytest.mark.parametrize("key", [dsa(0), rsa(), ed25519(1)], ids=["DSA", "RSA", "Ed25519"])
def test_a_fingerprint_is_the_one_that_ssh_keygen_shows(tmp_path: Path, key: str) -> None:
    here = make_house(tmp_path)
    plan = registrar.register(message(JIM, key), here)
    (shown,) = laptops(here)[JIM]["keys"]
    assert shown["since"] == plan.account.registered
    file = tmp_path / "key.pub"
    file.write_text(f"{shown['type']} {key}\n")
    done = subprocess.run(["ssh-keygen", "-lf", file], capture_output=True, text=True, check=True)
    assert shown["fingerprint"] == done.stdout.split()[1]
