# SPDX-License-Identifier: GPL-3.0-or-later
"""xs_laptop_info returns what `xs laptop list --json` prints, of one child where asked so, and changes nothing."""

from __future__ import annotations

import base64
import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

import xs_laptop_info
from running import run
from schoolserver import acts, overview, paths, refusals, registrar, registry, seen, stamps
from schoolserver.audit import Who
from schoolserver.house import House

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a tree to its learner")

JIM, ANN, EVE = "SHC00000011", "SHC00000022", "SHC00000033"
FURTHER = f"{JIM}.2"


def laptop(serial: str, key: int) -> dict[str, str]:
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([key]) * 32
    uuid = "5dd1a5d0-7f2d-4c2a-9a5c-0a9d3c0b6a11"
    return {"serial": serial, "nick": serial[-2:], "uuid": uuid, "pubkey": base64.b64encode(blob).decode()}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A school: Jim, whose laptop came again with a new key; Ann, whose laptop is Jim's new one; and Eve."""
    house = House(tmp_path / "users", tmp_path / "state", tmp_path / "extrausers", tmp_path / "keys")
    for directory in (house.users, house.state, house.extrausers, house.keys):
        directory.mkdir()
    told = functools.partial(overview.everything, house, house.state / "seen.json")
    monkeypatch.setattr(overview, "everything", told)
    monkeypatch.setattr(paths, "USERS", house.users)
    for serial, key in ((JIM, 1), (ANN, 2), (EVE, 3), (JIM, 4)):
        registrar.register(laptop(serial, key), house)
    acts.approve(house, ANN, JIM, Who("maria"))
    return house


def trees(answer: dict[str, Any]) -> set[str]:
    return {one["tree"] for one in answer["laptops"]}


@pytest.mark.parametrize("check", [True, False])
def test_it_returns_what_the_command_prints(house: House, capsys: pytest.CaptureFixture[str], check: bool) -> None:
    registrar.register(laptop(EVE, 3) | {"nick": "Eve"}, house)
    refused = refusals.add([], laptop("SHF00000000", 5), "the serial is no one's", "2026-11-25T10:14:58Z")
    refusals.write(house.state / "refusals.json", refused, 0)
    (house.users / "SHC00000044").mkdir()
    answer = run(xs_laptop_info, capsys, {}, check=check)
    everything = json.loads(json.dumps(overview.everything()))
    assert {name: answer[name] for name in everything} == everything
    assert trees(answer) == {JIM, ANN, EVE, FURTHER}
    assert [one["tree"] for one in answer["damaged"]] == ["SHC00000044"]
    assert [one["serial"] for one in answer["refused"]] == ["SHF00000000"]
    assert not answer["changed"]


@pytest.mark.parametrize("name", [JIM, ANN])
def test_of_one_laptop_it_returns_all_trees_of_its_child(
    house: House, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert trees(run(xs_laptop_info, capsys, {"serial": name})) == {JIM, ANN}


def test_a_further_tree_that_waits_is_its_own_until_somebody_says_whose(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    (further,) = run(xs_laptop_info, capsys, {"serial": FURTHER})["laptops"]
    assert (further["tree"], further["state"], further["login"]) == (FURTHER, registry.WAITING, JIM)
    acts.approve(house, JIM, None, Who("maria"))
    assert trees(run(xs_laptop_info, capsys, {"serial": FURTHER})) == {JIM, ANN, FURTHER}


def test_of_a_laptop_that_is_not_there_it_returns_none(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    answer = run(xs_laptop_info, capsys, {"serial": "SHC99999999"})
    assert answer["laptops"] == []
    assert not answer.get("failed")


def test_it_returns_what_its_documentation_shows(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    seen.note(house.state / "seen.json", EVE, "172.18.0.77", "Python-urllib/2.7", stamps.time_of("2026-11-25T101458Z"))
    documented = yaml.safe_load(xs_laptop_info.RETURN)
    (sample,) = documented["laptops"]["sample"]
    (one,) = run(xs_laptop_info, capsys, {"serial": EVE})["laptops"]
    assert {name: type(value) for name, value in one.items() if name != "latest"} == {
        name: type(value) for name, value in sample.items() if name != "latest"
    }
    assert one["keys"][0].keys() == sample["keys"][0].keys()
    assert (one["address"], one["client"], one["seen"]) == ("172.18.0.77", "Python-urllib/2.7", "2026-11-25T10:14:58Z")
    refused = refusals.add([], laptop(EVE, 3), "no", "2026-11-25T10:14:58Z")
    refusals.write(house.state / "refusals.json", refused, 0)
    assert run(xs_laptop_info, capsys, {})["refused"][0].keys() == documented["refused"]["sample"][0].keys()


def test_it_writes_nothing(house: House, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = {path: path.lstat().st_ctime_ns for path in tmp_path.rglob("*")}
    run(xs_laptop_info, capsys, {})
    assert {path: path.lstat().st_ctime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("bare", ["no package", "no library"])
def test_on_a_bare_host_there_are_no_laptops(
    house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, bare: str
) -> None:
    if bare == "no package":
        monkeypatch.setattr(xs_laptop_info, "INSTALLED", False)
    else:
        monkeypatch.setattr(paths, "USERS", house.users / "not there")
    answer = run(xs_laptop_info, capsys, {})
    assert (answer["changed"], answer["laptops"], answer["damaged"], answer["refused"]) == (False, [], [], [])
