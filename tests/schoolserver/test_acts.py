# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person says about laptops: as decided, and as it then stands on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import school
from laptops import ANN, EVE, JIM, NOW, after, dsa, message, request
from schoolserver import accounts, acts, audit, house, policy, registrar, registry, snapshot
from schoolserver.accounts import HANDED_ON, JOINED, Known
from schoolserver.acts import Act, Change
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from schoolserver.house import House
from schoolserver.learners import Learners
from schoolserver.policy import Request
from standing import everything, make_house

MARIA = Who("maria", "172.18.0.20")
ACT = Act(MARIA, NOW)
FURTHER = f"{JIM}.2"
STRANGER = f"{JIM}.3"


def applied(known: Known, change: Change) -> Known:
    for _, account in change.steps:
        known = known.plus(account)
    return known


def approved(known: Known, name: str, learner: str | None = None) -> Known:
    return applied(known, acts.decide_approval(known, name, learner, ACT))


# The same child.


def test_a_known_serials_new_key_is_joined_without_saying_to_whom() -> None:
    known = after(request(JIM, 0), request(JIM, 1))
    (step,) = acts.decide_approval(known, JIM, None, ACT).steps
    before, joined = step
    assert before == known.accounts[FURTHER]
    assert joined == replace(known.accounts[FURTHER], learner=JIM, approvals=joined.approvals)
    (approval,) = joined.approvals
    assert (approval.did, approval.tree, approval.when) == (JOINED, JIM, "2026-11-23T10:00:00Z")
    assert approval.by == "maria from 172.18.0.20"


def test_an_approval_writes_one_line_in_one_file() -> None:
    known = after(request(JIM, 0), request(ANN, 1))
    assert [after.tree for _, after in acts.decide_approval(known, ANN, JIM, ACT).steps] == [ANN]


def test_said_twice_it_changes_nothing_the_second_time() -> None:
    known = approved(after(request(JIM, 0), request(JIM, 1)), JIM)
    for name, learner in ((JIM, None), (FURTHER, None), (FURTHER, JIM)):
        assert not acts.decide_approval(known, name, learner, ACT).changed


def test_of_two_new_keys_a_person_says_which() -> None:
    known = after(request(JIM, 0), request(JIM, 1), request(JIM, 2))
    with pytest.raises(Refusal, match=f"2 new keys: say which is the same child, {FURTHER} or {STRANGER}"):
        acts.decide_approval(known, JIM, None, ACT)
    known = approved(known, STRANGER)
    assert Learners(known.accounts).trees_of(JIM) == [JIM, STRANGER]
    assert Learners(known.accounts).trees_of(FURTHER) == [FURTHER]


def test_a_laptop_alone_needs_to_hear_whose_it_is() -> None:
    with pytest.raises(Refusal, match=f"whose is {JIM}.*xs laptop approve {JIM} --as SERIAL"):
        acts.decide_approval(after(request(JIM)), JIM, None, ACT)


@pytest.mark.parametrize("name", ["SHC99999999", "../../etc", "", "SHC\n", f"{JIM}.9"])
def test_a_laptop_that_is_not_there_is_named_in_one_line(name: str) -> None:
    for learner in (None, JIM):
        with pytest.raises(Refusal, match="no laptop is registered as '") as refusal:
            acts.decide_approval(after(request(JIM)), name, learner, ACT)
        assert "\n" not in str(refusal.value)


def test_a_third_laptop_is_joined_to_the_learner_whichever_of_hers_is_named() -> None:
    known = approved(after(request(JIM, 0), request(ANN, 1), request(EVE, 2)), ANN, JIM)
    assert Learners(approved(known, EVE, ANN).accounts).trees_of(JIM) == [JIM, ANN, EVE]


def test_separated_everything_is_as_before() -> None:
    known = after(request(JIM, 0), request(JIM, 1), request(ANN, 2))
    for name, learner in ((JIM, None), (FURTHER, None), (ANN, JIM)):
        joined = approved(known, name, learner)
        assert joined != known
        assert applied(joined, acts.decide_separation(joined, name)) == known


def test_who_is_joined_to_nobody_cannot_be_separated() -> None:
    assert not acts.decide_separation(after(request(JIM)), JIM).changed


# In store, and out again.


def test_a_laptop_in_store_keeps_everything_but_its_way_in() -> None:
    known = approved(after(request(JIM, 0), request(JIM, 1)), JIM)
    stored = applied(known, acts.decide_retirement(known, JIM, ACT))
    assert stored.accounts == {**known.accounts, JIM: replace(known.accounts[JIM], retired="2026-11-23T10:00:00Z")}
    assert not acts.decide_retirement(stored, JIM, ACT).changed
    assert applied(stored, acts.decide_use(stored, JIM)) == known


def test_a_further_tree_is_no_laptop_to_put_away() -> None:
    with pytest.raises(Refusal, match="name the laptop by its serial"):
        acts.decide_retirement(after(request(JIM, 0), request(JIM, 1)), FURTHER, ACT)


# To another child.


def test_a_laptop_that_is_handed_on_starts_with_a_tree_and_a_uid_of_its_own() -> None:
    known = approved(after(request(JIM, 0), request(JIM, 1), request(ANN, 2)), JIM)
    known = applied(known, acts.decide_handing_on(known, JIM, ACT))
    new = known.accounts[STRANGER]
    assert (new.names, new.uid, new.nick) == ((JIM,), 20002, "")
    assert {key.blob for key in new.keys} == {dsa(0), dsa(1)}, "all keys that the laptop had"
    for tree in (JIM, FURTHER):
        assert (known.accounts[tree].names, known.accounts[tree].keys) == ((), ())
    learners = Learners(known.accounts)
    assert learners.trees_of(JIM) == [JIM, FURTHER]
    assert learners.trees_of(STRANGER) == [STRANGER]
    assert not learners.is_waiting(new), "a person has said already that it is another child"
    assert house.consistent(known) == known


def test_where_a_serial_has_had_two_children_a_person_says_which() -> None:
    known = after(request(JIM, 0), request(ANN, 1))
    known = applied(known, acts.decide_handing_on(known, JIM, ACT))
    with pytest.raises(Refusal, match=rf"{JIM} could be two children: say {JIM}\.1 .*Jim.* or {FURTHER}"):
        acts.decide_approval(known, ANN, JIM, ACT)
    assert Learners(approved(known, ANN, f"{JIM}.1").accounts).trees_of(ANN) == [JIM, ANN]
    assert Learners(approved(known, ANN, FURTHER).accounts).trees_of(ANN) == [FURTHER, ANN]


# Gone, and back.


def test_a_removed_laptop_that_comes_back_starts_apart_and_can_be_approved() -> None:
    known = after(request(JIM, 0), request(JIM, 1))
    known = approved(known, JIM)
    known = applied(known, acts.decide_removal(known, JIM))
    assert [(account.names, account.keys) for account in known.accounts.values()] == [((), ())] * 2
    for key in (0, 1, 2):
        plan = policy.decide(known, request(JIM, key), NOW)
        assert (plan.account.tree, plan.account.uid, plan.account.names) == (STRANGER, 20001, (JIM,))
    back = known.plus(plan.account)
    assert Learners(back.accounts).is_waiting(plan.account)
    assert Learners(approved(back, JIM).accounts).trees_of(STRANGER) == [JIM, FURTHER, STRANGER]


def test_removing_a_further_tree_leaves_the_laptop_alone() -> None:
    known = after(request(JIM, 0), request(JIM, 1))
    (step,) = acts.decide_removal(known, FURTHER).steps
    assert step[1].tree == FURTHER


# Whatever happens.

SERIALS, KEYS = st.sampled_from([JIM, ANN, EVE]), st.integers(0, 3)
NAMES = st.sampled_from([JIM, ANN, EVE, FURTHER, STRANGER, f"{ANN}.2", f"{JIM}.1"])
EVENTS = st.lists(
    st.one_of(
        st.builds(request, SERIALS, KEYS),
        st.tuples(st.just("approve"), NAMES, st.one_of(st.none(), NAMES)),
        st.tuples(st.sampled_from(["separate", "retire", "use", "hand-on", "remove"]), NAMES, st.none()),
    ),
    max_size=12,
)
Event = Request | tuple[str, str, str | None]


def happen(known: Known, event: Event) -> Known:
    """Return what is known after `event`; what is refused changes nothing."""
    try:
        if isinstance(event, Request):
            return known.plus(policy.decide(known, event, NOW).account)
        did, name, learner = event
        changes = {
            "approve": lambda: acts.decide_approval(known, name, learner, ACT),
            "separate": lambda: acts.decide_separation(known, name),
            "retire": lambda: acts.decide_retirement(known, name, ACT),
            "use": lambda: acts.decide_use(known, name),
            "hand-on": lambda: acts.decide_handing_on(known, name, ACT),
            "remove": lambda: acts.decide_removal(known, name),
        }
        return applied(known, changes[did]())
    except Refusal:
        return known


@given(EVENTS)
def test_whatever_happens_one_name_is_one_learners_and_one_key_writes_one_tree(events: list[Event]) -> None:
    known = Known()
    for event in events:
        trees = set(known.accounts)
        known = happen(known, event)
        assert trees <= set(known.accounts), "nothing that anybody says takes a tree away"
    names = [name for account in known.accounts.values() for name in account.names]
    keys = [key.blob for account in known.accounts.values() for key in account.keys]
    assert len(names) == len(set(names))
    assert len(keys) == len(set(keys))
    assert house.consistent(known) == known
    learners = Learners(known.accounts)
    for account in known.accounts.values():
        assert known.accounts[learners.written_by(account)].uid == account.uid


@given(EVENTS, NAMES, st.one_of(st.none(), NAMES))
def test_whatever_happened_before_an_approval_can_be_taken_back(
    events: list[Event], name: str, learner: str | None
) -> None:
    known = Known()
    for event in events:
        known = happen(known, event)
    try:
        change = acts.decide_approval(known, name, learner, ACT)
    except Refusal:
        return
    ((before, joined),) = change.steps
    if change.changed and before and before.learner == before.tree:
        approved = applied(known, change)
        assert applied(approved, acts.decide_separation(approved, joined.tree)) == known


# On the disk.


@pytest.fixture
def here(tmp_path: Path) -> House:
    here = make_house(tmp_path)
    registrar.register(message(JIM, dsa(0)), here)
    registrar.register(message(JIM, dsa(1)), here)
    registrar.register(message(ANN, dsa(2), nick="Ann"), here)
    return here


def keys(here: House, uid: int) -> list[str]:
    return [line.split('"')[1] for line in (here.keys / str(uid)).read_text().splitlines()]


def members(here: House, name: str) -> list[str]:
    lines = dict(line.split(":*:") for line in (here.extrausers / "group").read_text().splitlines())
    return [one for one in lines[name].split(":")[1].split(",") if one]


def test_a_reflashed_laptops_key_opens_its_old_tree_from_the_approval_on(here: House, tmp_path: Path) -> None:
    before = everything(tmp_path)
    assert keys(here, 20000) == [f"gate {JIM}", f"gate {FURTHER}"]
    assert acts.approve(here, JIM, None, MARIA).changed
    assert keys(here, 20000) == [f"gate {JIM}", f"gate {JIM}"]
    assert (here.learners / JIM).read_text().split() == [JIM, FURTHER]
    assert registry.trees_of(JIM, here.state / "registry.db") == [JIM, FURTHER]
    acts.separate(here, JIM, MARIA)
    after = everything(tmp_path)
    del before["audit.jsonl"], after["audit.jsonl"]
    assert after == before


def test_a_replaced_laptops_login_name_joins_the_old_learners_group_and_the_other_way_round(here: House) -> None:
    assert (members(here, JIM), members(here, ANN)) == ([], [])
    acts.approve(here, ANN, JIM, MARIA)
    assert (members(here, JIM), members(here, ANN)) == ([ANN], [JIM])
    assert keys(here, 20001) == [f"gate {ANN}"]
    acts.separate(here, ANN, MARIA)
    assert (members(here, JIM), members(here, ANN)) == ([], [])


def test_check_says_what_would_be_and_writes_nothing(here: House, tmp_path: Path) -> None:
    before = everything(tmp_path)
    promised = acts.approve(here, ANN, JIM, MARIA, check=True)
    assert everything(tmp_path) == before
    assert acts.approve(here, ANN, JIM, MARIA).steps[0][1].learner == promised.steps[0][1].learner == JIM


def test_the_trail_says_who_did_what_from_where(here: House) -> None:
    acts.approve(here, ANN, JIM, MARIA)
    acts.approve(here, ANN, JIM, MARIA)
    acts.retire(here, JIM, Who("root", "console"))
    told = [(entry.who, entry.where, entry.tree, entry.what) for entry in audit.read(here.audit)][3:]
    assert told == [
        ("maria", "172.18.0.20", ANN, f"{ANN} is the same child as {JIM}"),
        ("root", "console", JIM, f"{JIM} is in store; its documents stay where they are"),
    ]


def test_a_laptop_in_store_cannot_log_in(here: House) -> None:
    acts.retire(here, JIM, MARIA)
    assert keys(here, 20000) == [f"gate {FURTHER}"], "whoever else claimed the serial goes on as before"
    acts.restore_to_use(here, JIM, MARIA)
    assert keys(here, 20000) == [f"gate {JIM}", f"gate {FURTHER}"]


@pytest.mark.parametrize("act", [acts.hand_on, acts.remove])
def test_whoever_else_came_with_the_serial_is_not_left_without_a_name(
    here: House, act: Callable[[House, str, Who], Change]
) -> None:
    with pytest.raises(Refusal, match=f"{FURTHER} has come with a new key.*first approve it.*or remove it"):
        act(here, JIM, MARIA)
    acts.remove(here, FURTHER, MARIA)
    assert act(here, JIM, MARIA).changed


def test_handing_on_makes_a_tree_that_works_at_once(here: House) -> None:
    acts.approve(here, JIM, None, MARIA)
    acts.hand_on(here, JIM, MARIA)
    new = accounts.read_all(here.users).accounts[STRANGER]
    assert new.approvals[0].did == HANDED_ON
    assert keys(here, new.uid) == [f"gate {STRANGER}"] * 2
    assert f"{JIM}:*:{new.uid}:" in (here.extrausers / "passwd").read_text()
    assert (here.users / STRANGER / "datastore-current").stat().st_uid == new.uid


def test_removing_keeps_every_document(here: House) -> None:
    before = everything(here.users / JIM)
    acts.remove(here, FURTHER, MARIA)
    acts.remove(here, JIM, MARIA)
    after = everything(here.users / JIM)
    assert after.keys() == before.keys()
    assert JIM not in (here.extrausers / "passwd").read_text()
    assert keys(here, 20000) == []


@pytest.fixture
def archive(library: Path) -> House:
    """Jim and Ann on btrfs; Jim has three documents, one of them deleted since."""
    here = make_house(library)
    registrar.register(message(JIM, dsa(0)), here)
    registrar.register(message(ANN, dsa(2), nick="Ann"), here)
    tree = here.users / JIM
    for day in (0, 1):
        for number in range(3 - day):
            school.write_document(tree / "datastore-current", school.uid(number))
        if day:
            school.remove_document(tree / "datastore-current", school.uid(2))
        school.end_run(tree)
        assert snapshot.take(tree, school.day(day), here.state / "catalog.db")
    return here


def test_documents_go_only_when_told_so_and_are_counted(archive: House) -> None:
    catalog = archive.state / "catalog.db"
    promised = acts.remove(archive, JIM, MARIA, documents=True, check=True, catalog_file=catalog)
    assert "3 documents are deleted for ever" in promised.said
    assert (archive.users / JIM / "keepsakes" / school.uid(2)).is_dir()
    assert acts.remove(archive, JIM, MARIA, documents=True, catalog_file=catalog).said == promised.said
    assert [path.name for path in archive.users.iterdir()] == [ANN]
    assert list(house.read(archive).accounts) == [ANN]
    assert "3 documents are deleted for ever" in audit.read(archive.audit)[-1].what


def test_documents_that_another_laptop_was_joined_to_do_not_go(archive: House) -> None:
    acts.approve(archive, ANN, JIM, MARIA)
    with pytest.raises(Refusal, match=f"{ANN} was joined to it.*separate it first"):
        acts.remove(archive, JIM, MARIA, documents=True, catalog_file=archive.state / "catalog.db")
    assert (archive.users / JIM / "datastore-latest").exists()


def test_an_interrupted_deletion_goes_on_at_the_next_start(archive: House) -> None:
    (archive.users / JIM).rename(archive.users / f".erased-{JIM}")
    snapshot.sweep(archive.users, school.day(2), archive.state / "catalog.db")
    assert [path.name for path in archive.users.iterdir()] == [ANN]


def test_a_reflash_of_a_laptop_in_store_is_not_approved_into_keys_that_open_nothing(here: House) -> None:
    acts.retire(here, JIM, MARIA)
    with pytest.raises(Refusal, match=f"{JIM} is in store.*xs laptop retire {JIM} --undo"):
        acts.approve(here, JIM, None, MARIA)
    acts.approve(here, ANN, JIM, MARIA)  # a replaced laptop is another one
