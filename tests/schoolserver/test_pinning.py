# SPDX-License-Identifier: GPL-3.0-or-later
"""A person keeps a snapshot, or lets it go; and `xs snapshot`, which says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import school
from laptops import JIM, dsa, message
from schoolserver import audit, cli, cli_restore, cli_snapshot, paths, pinning, pins, registrar, rotation, snapshot
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from schoolserver.house import House
from schoolserver.pins import BULK_LOSS, KEEPSAKES, Pin
from schoolserver.rotation_plan import Policy, Space
from standing import make_house

MARIA = Who("maria", "172.18.0.20")
S1, S2, S3 = "2026-11-23T101500Z", "2026-11-24T101500Z", "2026-11-25T101500Z"
NOW = "2026-11-26T101500Z"
Xs = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(any_library: Path) -> House:
    """Jim's tree with three snapshots, a day apart."""
    here = make_house(any_library)
    registrar.register(message(JIM, dsa(0)), here)
    for day in range(3):
        school.end_run(here.users / JIM)
        assert snapshot.take(here.users / JIM, school.day(day), here.state / "catalog.db")
    return here


@pytest.fixture
def xs(here: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Xs:
    """Runs `xs snapshot` with these words and returns exit code, output and errors."""
    for module in (cli_restore, cli_snapshot):
        monkeypatch.setattr(module, "House", lambda: here)
    monkeypatch.setattr(paths, "USERS", here.users)
    monkeypatch.setattr(snapshot.take, "__defaults__", (here.state / "catalog.db",))

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["xs", "snapshot", *words])
        code = cli.main()
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def rotated(here: House) -> list[str]:
    outcomes = rotation.rotate(here, Policy(1, 1, 1), Space(), school.day(9))
    return [name for outcome in outcomes for name in outcome.removed]


def test_a_pinned_snapshot_stays_until_it_is_unpinned(here: House) -> None:
    assert pinning.pin(here, JIM, S1, "before the exhibition", MARIA).changed
    assert rotated(here) == []
    assert pinning.unpin(here, JIM, S1, MARIA).changed
    assert rotated(here) == [S1]


def test_said_twice_it_changes_nothing_and_the_trail_has_it_once(here: House) -> None:
    for changed in (True, False):
        assert pinning.pin(here, JIM, S1, "before the exhibition", MARIA).changed is changed
    told = audit.read(here.audit, [JIM])[-1]
    assert (told.who, told.what) == ("maria", f"{S1} stays, whatever rotation does (before the exhibition)")
    assert sum("stays" in entry.what for entry in audit.read(here.audit)) == 1


def test_check_says_what_would_be_and_writes_nothing(here: House) -> None:
    assert pinning.pin(here, JIM, S1, "x", MARIA, check=True).changed
    assert pins.read(here.users / JIM) == {}


def test_whoever_lets_go_what_holds_last_copies_hears_how_many() -> None:
    kept = {S1: Pin(frozenset({KEEPSAKES, BULK_LOSS}), 812, S2)}
    change = pinning.decide(kept, [S1, S2], S1, None, NOW)
    assert change.after == {}
    assert change.said.endswith("with it goes the last copy of up to 812 documents")


def test_what_is_not_there_is_not_pinned_but_a_pin_of_what_is_gone_can_go() -> None:
    for why in ("x", None):
        with pytest.raises(Refusal, match="there is no snapshot"):
            pinning.decide({}, [S2], S1, why, NOW)
    assert pinning.decide({S1: Pin(frozenset({"x"}), 0, S1)}, [S2], S1, None, NOW).after == {}


@pytest.mark.parametrize("why", pinning.OWN)
def test_nobody_gives_a_reason_that_the_server_takes_back_by_itself(here: House, why: str) -> None:
    with pytest.raises(Refusal, match="use other words"):
        pinning.pin(here, JIM, S1, why, MARIA)


@pytest.mark.parametrize("tree", ["SHC99999999", "../../etc", ""])
def test_a_name_leads_nowhere_else(here: House, tree: str) -> None:
    with pytest.raises(Refusal, match="no tree is called"):
        pinning.pin(here, tree, S1, "x", MARIA)


def test_the_command_lists_pins_and_lets_go(xs: Xs) -> None:
    assert xs("pin", JIM, S1, "--why", "exhibition") == (0, f"{S1} stays, whatever rotation does (exhibition)\n", "")
    listed = xs("list", JIM)[1].splitlines()
    assert listed[1].split() == [JIM, S1, "exhibition"]
    assert listed[3].endswith("a restore offers this one")
    assert json.loads(xs("list", JIM, "--json")[1])["trees"][0]["best"] == S3
    assert xs("unpin", JIM, S1)[0] == 0
    assert xs("unpin", JIM, S1)[1].endswith("nothing changed\n")


def test_what_waits_is_taken_at_once(here: House, xs: Xs) -> None:
    assert "no completed backup waits" in xs("take", JIM)[1]
    school.end_run(here.users / JIM)
    assert xs("take", JIM)[1].startswith(f"{JIM}: took ")
