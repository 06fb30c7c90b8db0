# SPDX-License-Identifier: GPL-3.0-or-later
"""What update_laptops.yml decides: whom to ask, what an answer means, when to stop, what the table says."""

from __future__ import annotations

import importlib.util
import json
import unicodedata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

PLUGIN = Path(__file__).parents[2] / "playbooks/filter_plugins/laptop_updates.py"


def load() -> ModuleType:
    """Return the filter plugin, which lies where Ansible looks for it and not where Python does."""
    specification = importlib.util.spec_from_file_location("laptop_updates", PLUGIN)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


updates = load()


def laptop(**said: Any) -> dict[str, Any]:
    return {
        "xs_school": "north", "ansible_host": "172.18.0.77", "xs_client": "xo-client/0.1.0", "xs_nick": "Jim",
        "xs_class": "4B", "xs_last_seen": "2026-11-25T10:14:58Z", **said,
    }  # fmt: skip


def ran(code: int, said: str = "") -> dict[str, Any]:
    return {"rc": code, "stdout": said, "changed": False}


def answer(kind: str, **more: Any) -> dict[str, Any]:
    return ran(0, json.dumps({"format": 1, "outcome": kind, "version": "0.2.0", "was": "0.1.0", "message": "", **more}))


def kind(result: dict[str, Any]) -> str:
    found: str = updates.outcome(result)["outcome"]
    return found


def planned(**laptops: dict[str, Any]) -> dict[str, str]:
    return {name: one["outcome"] for name, one in updates.plan(laptops, ["north"]).items()}


def test_a_laptop_with_our_package_or_an_unknown_client_is_asked() -> None:
    assert planned(A=laptop(), B=laptop(xs_client="", ansible_host="172.18.0.78")) == {}


def test_an_old_client_and_a_sugar_without_the_package_are_not_asked() -> None:
    assert planned(A=laptop(xs_client="Python-urllib/2.7"), B=laptop(xs_client="Python-urllib/3.11")) == {
        "A": "old",
        "B": "bare",
    }


@pytest.mark.parametrize("address", ["", "-oProxyCommand=id", "$(id)", "172.18.0.77 -v", "laptop.example"])
def test_nobody_is_asked_at_what_is_no_address(address: str) -> None:
    assert planned(A=laptop(ansible_host=address)) == {"A": "away"}


def test_an_address_that_was_handed_on_is_the_laptops_that_has_it_now() -> None:
    old, new = laptop(xs_last_seen="2026-11-24T10:00:00Z"), laptop(xs_last_seen="2026-11-25T10:00:00Z")
    elsewhere = laptop(xs_school="south", xs_last_seen="2026-11-23T10:00:00Z")
    found = updates.plan({"A": old, "B": new, "C": elsewhere}, ["north", "south"])
    assert {name: one["message"] for name, one in found.items()} == {"A": "B was seen at its address since"}


def test_a_school_that_cannot_push_takes_its_own_laptops_out() -> None:
    assert planned(A=laptop(), B=laptop(xs_school="south")) == {"B": "untried"}


@pytest.mark.parametrize("said", ["updated", "current", "failed", "later"])
def test_a_laptops_answer_is_its_outcome_whatever_the_exit_code(said: str) -> None:
    assert kind(answer(said)) == said
    assert kind({**answer(said), "rc": 255}) == said


def test_an_answer_is_found_between_other_lines() -> None:
    assert kind(ran(0, "a banner\n" + answer("updated")["stdout"] + "\nbye")) == "updated"


@pytest.mark.parametrize(
    ("code", "said", "outcome"),
    [
        (255, "ssh: connect to host 172.18.0.77 port 22: Connection timed out", "away"),
        (255, "ssh: connect to host 172.18.0.77 port 22: No route to host", "away"),
        (255, "ssh: connect to host 172.18.0.77 port 22: Connection refused", "closed"),
        (255, "xo-push@172.18.0.77: Permission denied (publickey).", "stranger"),
        (255, 'Load key "/library/push-key": bad permissions\nPermission denied (publickey).', "failed"),
        (255, "client_loop: send disconnect: Broken pipe", "away"),
        (255, "", "away"),
        (124, "", "failed"),
        (137, "half a lin", "failed"),
        (0, "", "failed"),
        (0, "This account is currently not available.", "failed"),
        (127, "bash: ssh: command not found", "failed"),
    ],
)
def test_what_ssh_says_is_told_apart(code: int, said: str, outcome: str) -> None:
    assert kind(ran(code, said)) == outcome


def test_in_check_mode_and_without_a_school_server_there_is_an_outcome_too() -> None:
    assert kind({"skipped": True, "changed": False}) == "asked"
    assert kind({"unreachable": True, "msg": "Failed to connect"}) == "untried"
    assert kind({"failed": True, "msg": "no python"}) == "untried"


@pytest.mark.parametrize("said", ["[" * 100_000, "[1]", '"updated"', "null", '{"outcome": ["updated"]}', "{}", "NaN"])
def test_what_is_no_answer_is_a_failure_and_no_error(said: str) -> None:
    assert kind(ran(0, said)) == "failed"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
HOSTILE = st.fixed_dictionaries({}, optional=dict.fromkeys(("format", "version", "was", "message"), VALUES))


def shows_safely(line: str) -> bool:
    return not any(unicodedata.category(c)[0] == "C" or c in "{}" for c in line)


@given(HOSTILE, st.sampled_from(["updated", "failed", "later", "current"]))
def test_whatever_an_answer_holds_the_line_is_short_and_plain(said: dict[str, Any], outcome: str) -> None:
    found = updates.outcome(ran(0, json.dumps({**said, "outcome": outcome})))
    assert found["outcome"] == outcome
    assert all(isinstance(value, str) and len(value) <= 120 and shows_safely(value) for value in found.values())


@given(st.integers(), st.text())
def test_whatever_comes_back_it_has_an_outcome(code: int, said: str) -> None:
    found = updates.outcome(ran(code, said))
    assert found["outcome"] in updates.KINDS
    assert all(shows_safely(value) for value in found.values())


def test_a_laptop_cannot_make_ansible_or_the_terminal_obey_it() -> None:
    found = updates.outcome(answer("failed", message="\x1b[2J{{ lookup('pipe', 'id') }}\nSHC1  updated\u202e"))
    assert found["message"] == "[2J?? lookup('pipe', 'id') ?? SHC1 updated"


def of(*kinds: str) -> list[dict[str, str]]:
    return [updates.outcome_of(kind) for kind in kinds]


def test_it_stops_where_the_first_that_answers_fails() -> None:
    first = of("failed")
    assert updates.stop(first, first, 20)
    later = of("away", "later", "failed")
    assert updates.stop(of("away") + later, later, 20)


def test_closed_lids_never_stop_it() -> None:
    wave = of("away", "closed", "stranger", "later")
    assert updates.stop(wave, wave, 0) == ""


def test_one_broken_laptop_among_those_that_work_stops_nothing() -> None:
    wave = of("failed", "away")
    assert updates.stop(of("updated") + wave, wave, 20) == ""


def test_too_many_in_a_wave_stop_it_however_many_worked_before() -> None:
    wave = of("failed", "failed", "updated", "updated")
    assert updates.stop(of(*["current"] * 100) + wave, wave, 20) == "2 of 4 laptops failed"
    assert updates.stop(of(*["current"] * 100) + wave, wave, 50) == ""


def test_too_many_in_all_waves_together_stop_it() -> None:
    one = of("failed")
    assert updates.stop(of("updated") + one + one, one, 20) == "2 of 3 laptops failed"


def shown(**outcomes: dict[str, str] | None) -> list[str]:
    laptops = {
        name: laptop(push_plan={name: found} if found else {}, xs_nick=f"nick-{name}")
        for name, found in outcomes.items()
    }
    lines: list[str] = updates.table(laptops).splitlines()
    return lines


def test_the_table_begins_with_what_needs_a_person_and_ends_with_a_sum() -> None:
    _, *rows, total = shown(A=updates.outcome_of("current"), B=None, C=updates.outcome_of("failed", "disk full"))
    assert [row.split()[0] for row in rows] == ["C", "B", "A"]
    assert "disk full" in rows[0]
    assert total == "3 laptops: 1 failed, 1 not tried, 1 already current."


def test_the_table_says_from_which_version_to_which_and_why_it_stopped() -> None:
    text = updates.table({"A": laptop(push_result=answer("updated"))}, "the first laptop that answered failed")
    assert "0.1.0 → 0.2.0" in text
    assert text.endswith("1 laptop: 1 updated. Stopped: the first laptop that answered failed.")


def test_an_empty_table_says_so() -> None:
    assert updates.table({}).endswith("0 laptops: nobody.")


@given(st.text(), st.text(), st.sampled_from([*updates.KINDS]))
def test_no_nick_breaks_a_line_of_the_table(nick: str, school_class: str, found: str) -> None:
    hostile = laptop(xs_nick=nick, xs_class=school_class, push_plan={"A": updates.outcome_of(found)})
    lines = updates.table({"A": hostile}).splitlines()
    assert len(lines) == 3
    assert all(shows_safely(line) for line in lines)
