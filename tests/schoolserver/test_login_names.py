# SPDX-License-Identifier: GPL-3.0-or-later
"""passwd, group and key files: what sshd and the kernel will believe."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptops import ANN, EVE, JIM, NOW, after, dsa, request
from schoolserver import acts, login_names, policy
from schoolserver.accounts import Account, Known
from schoolserver.acts import Act
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from schoolserver.policy import ASK, AUTOMATIC, Request, Rules

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


# One child, several trees.

ACT = Act(Who("maria"), NOW)
FURTHER = f"{JIM}.2"


def approved(known: Known, name: str, learner: str | None) -> Known:
    for _, account in acts.decide_approval(known, name, learner, ACT).steps:
        known = known.plus(account)
    return known


REPLACED = list(approved(KNOWN, ANN, JIM).accounts.values())  # Ann's laptop, with both its names, is Jim's new one
REFLASHED = list(approved(KNOWN, JIM, None).accounts.values())


def members(accounts: list[Account]) -> dict[str, list[str]]:
    lines = [line.split(":") for line in login_names.group(accounts).splitlines()]
    return {name: [one for one in names.split(",") if one] for name, _, _, names in lines}


def opened(accounts: list[Account]) -> dict[str, str]:
    """Return {key: the tree that it opens}."""
    lines = "".join(login_names.key_files(accounts).values()).splitlines()
    assert len({line.split()[-1] for line in lines}) == len(lines)
    return {line.split()[-1]: line.split('"')[1].removeprefix("gate ") for line in lines}


def test_the_names_of_a_childs_laptops_are_members_of_each_others_groups_and_of_no_other() -> None:
    eve = replace(after(request(EVE, 4)).accounts[EVE], uid=20002)
    assert members([*REPLACED, eve]) == {
        "xs-learners": ["ABC12345678", JIM, ANN, EVE],
        JIM: ["ABC12345678", ANN],
        ANN: [JIM],
        EVE: [],
    }
    assert all(line.count(":") == 3 for line in login_names.group(REPLACED).splitlines())


def test_a_reflashed_laptop_needs_no_other_group_and_its_new_key_opens_the_old_tree() -> None:
    assert members(REFLASHED) == members(EVERYONE)
    assert opened(REFLASHED) == {dsa(0): JIM, dsa(1): ANN, dsa(2): JIM}


def test_a_replaced_laptops_key_opens_its_own_tree_still() -> None:
    assert opened(REPLACED) == opened(EVERYONE) == {dsa(0): JIM, dsa(1): ANN, dsa(2): FURTHER}


def test_in_store_all_keys_of_that_child_open_nothing_and_a_strangers_does() -> None:
    stored = [replace(one, retired="2026-11-23T10:00:00Z") if one.tree == JIM else one for one in EVERYONE]
    assert opened(stored) == {dsa(1): ANN, dsa(2): FURTHER}
    reflashed = [replace(one, retired="2026-11-23T10:00:00Z") if one.tree == JIM else one for one in REFLASHED]
    assert login_names.key_files(reflashed)[20000] == "", "the file stays, empty"
    assert login_names.passwd(stored) == login_names.passwd(EVERYONE), "the name stays its own"


def test_which_trees_belong_together_is_written_for_each_of_them_where_they_are_several() -> None:
    assert login_names.learner_files(EVERYONE) == {}
    assert login_names.learner_files(REFLASHED) == {
        JIM: (f"{JIM}\n{FURTHER}\n", 20000),
        FURTHER: (f"{JIM}\n{FURTHER}\n", 20000),
    }
    assert login_names.learner_files(REPLACED) == {
        JIM: (f"{JIM}\n{ANN}\n", 20000),
        ANN: (f"{JIM}\n{ANN}\n", 20001),
    }


def test_what_belongs_together_can_be_read_by_the_learners_gates_and_looked_up_by_name_only(tmp_path: Path) -> None:
    directory = tmp_path / "learners"
    login_names.write_learners(REPLACED, directory)
    status = {
        file.name: (stat.S_IMODE(file.stat().st_mode), file.stat().st_uid, file.stat().st_gid)
        for file in directory.iterdir()
    }
    assert status == {JIM: (0o640, 0, 20000), ANN: (0o640, 0, 20001)}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o711


def test_after_a_separation_the_files_are_gone_and_a_technicians_own_stays(tmp_path: Path) -> None:
    directory = tmp_path / "learners"
    login_names.write_learners(REPLACED, directory)
    (directory / "README").write_text("a technician's")
    login_names.write_learners(EVERYONE, directory)
    assert [file.name for file in directory.iterdir()] == ["README"]


def test_what_is_right_there_already_is_not_written_and_what_is_wrong_is_put_right(tmp_path: Path) -> None:
    directory = tmp_path / "learners"
    login_names.write_learners(REPLACED, directory)
    before = {file: file.stat().st_ino for file in directory.iterdir()}
    login_names.write_learners(REPLACED, directory)
    assert {file: file.stat().st_ino for file in directory.iterdir()} == before
    (directory / JIM).write_text(f"{JIM}\n{EVE}\n")
    (directory / ANN).chmod(0o666)
    login_names.write_learners(REPLACED, directory)
    assert (directory / JIM).read_text() == f"{JIM}\n{ANN}\n"
    assert stat.S_IMODE((directory / ANN).stat().st_mode) == 0o640


# Whoever heard OK.

SERIALS, KEYS = st.sampled_from([JIM, ANN, EVE]), st.integers(0, 3)
NAMES = st.sampled_from([JIM, ANN, FURTHER])
SAID = st.tuples(st.sampled_from(["approve", "retire", "hand-on", "remove"]), NAMES, st.one_of(st.none(), NAMES))


def happen(known: Known, event: Request | tuple[str, str, str | None]) -> Known:
    """Return what is known after `event`; what is refused changes nothing."""
    try:
        if isinstance(event, Request):
            return known.plus(policy.decide(known, event, NOW).account)
        did, name, learner = event
        steps = {
            "approve": lambda: acts.decide_approval(known, name, learner, ACT),
            "retire": lambda: acts.decide_retirement(known, name, ACT),
            "hand-on": lambda: acts.decide_handing_on(known, name, ACT),
            "remove": lambda: acts.decide_removal(known, name),
        }[did]().steps
    except Refusal:
        return known
    for _, account in steps:
        known = known.plus(account)
    return known


@given(
    st.lists(st.one_of(st.builds(request, SERIALS, KEYS), SAID), max_size=8),
    st.builds(request, SERIALS, KEYS),
    st.sampled_from([ASK, AUTOMATIC]),
)
def test_whoever_heard_ok_can_log_in_whatever_was_said_before(
    events: list[Request | tuple[str, str, str | None]], laptop: Request, rekey: str
) -> None:
    known = Known()
    for event in events:
        known = happen(known, event)
    try:
        plan = policy.decide(known, laptop, NOW, Rules(rekey=rekey))
    except Refusal:
        return
    accounts = list(known.plus(plan.account).accounts.values())
    uids = {line.split(":")[0]: int(line.split(":")[2]) for line in login_names.passwd(accounts).splitlines()}
    assert laptop.key.blob in login_names.key_files(accounts)[uids[plan.login]]


def test_a_key_whose_tree_has_no_login_name_any_more_hears_no_ok_that_would_be_a_lie() -> None:
    # No act leads here, but a hand that edits account.json may.
    known = after(request(JIM, 0), request(JIM, 1), request(ANN, 2))
    known = known.plus(replace(known.accounts[JIM], names=())).plus(replace(known.accounts[ANN], names=(ANN, JIM)))
    with pytest.raises(Refusal, match=f"{FURTHER} has no login name of its own: ask the school's technician to remove"):
        policy.decide(known, request(JIM, 1), NOW)


def test_where_serials_are_trusted_a_new_key_of_a_laptop_in_store_is_not_joined_to_what_opens_nothing() -> None:
    known = happen(after(request(JIM, 0)), ("retire", JIM, None))
    account = policy.decide(known, request(JIM, 1), NOW, Rules(rekey=AUTOMATIC)).account
    assert (account.tree, account.learner) == (FURTHER, FURTHER)
