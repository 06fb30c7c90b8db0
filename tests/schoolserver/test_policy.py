# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registration leads to: the case table of docs/architecture.md, and who may have a new account."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptops import ANN, EVE, JIM, NOW, UUID, after, dsa, message, request
from schoolserver import accounts, house, policy
from schoolserver.accounts import HANDED_ON, JOINED, LAST_UID, Known
from schoolserver.errors import Refusal
from schoolserver.learners import Learners
from schoolserver.policy import AUTOMATIC, CLOSED, LIST, MOST_NAMES, Request, Rules, decide


def test_a_new_serial_with_a_new_key_gets_a_tree() -> None:
    plan = decide(after(request(ANN, key=1)), request(JIM), NOW)
    account = plan.account
    assert (account.tree, account.learner, account.names, account.uid) == (JIM, JIM, (JIM,), 20001)
    assert (plan.login, plan.new, plan.changed) == (JIM, True, True)
    assert account.registered == account.keys[0].since == "2026-11-23T10:00:00Z"


def test_registering_again_unchanged_changes_nothing() -> None:
    plan = decide(after(request()), request(), NOW)
    assert (plan.login, plan.new, plan.changed) == (JIM, False, False)


def test_a_new_nick_changes_the_nick_and_nothing_else() -> None:
    known = after(request())
    plan = decide(known, request(nick="James"), NOW)
    assert plan.account == replace(known.accounts[JIM], nick="James")
    assert plan.changed


def test_a_known_key_under_a_new_serial_is_the_same_laptop() -> None:
    plan = decide(after(request()), request("ABC12345678"), NOW)
    assert (plan.account.tree, plan.account.names, plan.login) == (JIM, (JIM, "ABC12345678"), "ABC12345678")
    assert not plan.new


def test_a_known_serial_with_a_new_key_works_apart_from_the_old_documents() -> None:
    plan = decide(after(request(key=0)), request(key=1), NOW)
    account = plan.account
    assert (account.tree, account.learner, account.uid, plan.login) == (f"{JIM}.2", f"{JIM}.2", 20000, JIM)
    assert account.keys[0].blob == dsa(1)
    assert account.names == ()


def test_each_further_key_of_a_serial_gets_a_tree_of_its_own() -> None:
    known = after(request(key=0), request(key=1), request(key=2))
    assert list(known.accounts) == [JIM, f"{JIM}.2", f"{JIM}.3"]
    assert decide(known, request(key=1, nick="J"), NOW).account.tree == f"{JIM}.2"


def test_a_further_trees_key_under_a_new_serial_stays_in_its_own_tree() -> None:
    plan = decide(after(request(key=0), request(key=1)), request("ABC12345678", key=1), NOW)
    assert (plan.account.tree, plan.account.names) == (f"{JIM}.2", ("ABC12345678",))


def test_another_learners_key_opens_its_own_tree_and_nothing_of_the_serials_owner() -> None:
    known = after(request(JIM, key=0), request(ANN, key=1))
    plan = decide(known, request(JIM, key=1, nick="Ann"), NOW)
    assert (plan.account.tree, plan.login) == (ANN, ANN)
    assert plan.account.names == (ANN,)


def test_a_uid_is_never_used_twice_even_where_the_account_is_unreadable() -> None:
    known = Known(damaged={EVE: "not JSON"}, uids=frozenset({20004}))
    assert decide(known, request(), NOW).account.uid == 20005


def test_a_serial_whose_account_is_damaged_is_refused_until_a_person_has_looked() -> None:
    with pytest.raises(Refusal, match="technician"):
        decide(Known(damaged={JIM: "not JSON"}), request(), NOW)


def test_a_tree_that_nobody_names_any_more_is_never_taken_over() -> None:
    known = after(request())
    known = Known({JIM: replace(known.accounts[JIM], names=())}, {}, known.uids)
    plan = decide(known, request(key=1), NOW)
    assert (plan.account.tree, plan.account.uid, plan.account.names) == (f"{JIM}.2", 20001, (JIM,))


def test_when_all_uids_are_taken_the_laptop_hears_it() -> None:
    with pytest.raises(Refusal, match="no room"):
        decide(Known(uids=frozenset({LAST_UID})), request(), NOW)


SERIALS, KEYS = st.sampled_from([JIM, ANN, EVE]), st.integers(0, 3)


@given(st.lists(st.builds(request, SERIALS, KEYS)))
def test_whatever_registers_each_key_writes_one_tree_and_each_name_has_one_uid(requests: list[Request]) -> None:
    known = after(*requests)
    keys = [key.blob for account in known.accounts.values() for key in account.keys]
    names = [name for account in known.accounts.values() for name in account.names]
    assert len(keys) == len(set(keys)) == len({each.key for each in requests})
    assert len(names) == len(set(names))
    assert house.consistent(known) == known
    for account in known.accounts.values():
        # A session logs in under the serial: that name must lead to the uid that owns the tree.
        owner = next(other for other in known.accounts.values() if account.serial in other.names)
        assert owner.uid == account.uid


@given(st.lists(st.builds(request, SERIALS, KEYS)))
def test_whatever_registers_two_first_trees_share_no_uid(requests: list[Request]) -> None:
    firsts = [account for account in after(*requests).accounts.values() if "." not in account.tree]
    assert len(firsts) == len({account.uid for account in firsts})


@pytest.mark.parametrize("field", ["serial", "nick", "uuid", "pubkey"])
@pytest.mark.parametrize("value", [None, 1, ["x"], {"a": 1}])
def test_a_field_that_is_no_text_is_refused(field: str, value: object) -> None:
    with pytest.raises(Refusal, match="as text"):
        policy.check(message() | {field: value})


# Who may have a new account.


def test_a_closed_school_takes_no_new_laptop_and_still_serves_those_it_has() -> None:
    known = after(request())
    with pytest.raises(Refusal, match="takes no new laptops now"):
        decide(known, request(ANN, key=1), NOW, Rules(CLOSED))
    assert decide(known, request(nick="J"), NOW, Rules(CLOSED)).changed
    assert decide(known, request("ABC12345678"), NOW, Rules(CLOSED)).login == "ABC12345678"


def test_a_school_with_a_list_takes_who_is_on_it_and_says_so_to_the_others() -> None:
    rules = Rules(LIST, frozenset({JIM}))
    assert decide(Known(), request(JIM), NOW, rules).new
    assert decide(after(request(JIM)), request(JIM, key=1), NOW, rules).account.tree == f"{JIM}.2"
    with pytest.raises(Refusal, match=f"{ANN} is not on this school's list.*technician"):
        decide(Known(), request(ANN), NOW, rules)


def test_a_full_school_takes_no_more_but_who_was_removed_does_not_count() -> None:
    known = after(request(JIM, 0), request(ANN, 1))
    with pytest.raises(Refusal, match="has its 2 laptops and takes no more"):
        decide(known, request(EVE, 2), NOW, Rules(most_laptops=2))
    gone = replace(known.accounts[ANN], names=(), keys=())
    assert decide(known.plus(gone), request(EVE, 2), NOW, Rules(most_laptops=2)).new


def test_a_key_gets_twenty_login_names_and_no_more() -> None:
    names = [f"ABC{number:08}" for number in range(1, MOST_NAMES + 1)]
    known = after(*(request(name) for name in names))
    assert known.accounts[names[0]].names == tuple(names)
    with pytest.raises(Refusal, match=r"under 20 serials already.*laptop package"):
        decide(known, request("ABC99999999"), NOW)
    assert decide(known, request(names[-1]), NOW).login == names[-1]


def test_where_sshd_takes_no_dsa_key_nobody_hears_ok_for_one() -> None:
    with pytest.raises(Refusal, match=r"old kind, DSA.*laptop package"):
        decide(Known(), request(), NOW, Rules(dsa=False))


def test_a_laptop_in_store_is_sent_to_a_person() -> None:
    known = after(request())
    stored = known.plus(replace(known.accounts[JIM], retired="2026-11-23T10:00:00Z"))
    with pytest.raises(Refusal, match="given back to the school"):
        decide(stored, request(), NOW)
    # Wiped and given out again, it has a new key and starts apart.
    assert decide(stored, request(key=1), NOW).account.tree == f"{JIM}.2"


# A known serial with a new key, in a school that trusts uuids.


def test_a_trusting_school_joins_a_known_serial_and_uuid_at_once() -> None:
    known = after(request(key=0))
    plan = decide(known, request(key=1), NOW, Rules(rekey=AUTOMATIC))
    account = plan.account
    assert (account.tree, account.learner, account.approvals[0].did) == (f"{JIM}.2", JIM, JOINED)
    assert account.approvals[0].by == "xs_rekey: automatic"
    assert Learners(known.plus(account).accounts).written_by(account) == JIM


def test_a_trusting_school_joins_nobody_who_does_not_know_the_uuid() -> None:
    stranger = replace(request(key=1), uuid=UUID.replace("1", "2"))
    account = decide(after(request(key=0)), stranger, NOW, Rules(rekey=AUTOMATIC)).account
    assert (account.tree, account.learner, account.approvals) == (f"{JIM}.2", f"{JIM}.2", ())
    # Nor does its uuid become one that is believed.
    known = after(request(key=0)).plus(account)
    assert decide(known, replace(stranger, key=request(key=2).key), NOW, Rules(rekey=AUTOMATIC)).account.approvals == ()


def test_a_trusting_school_that_is_closed_takes_its_own_laptops_back() -> None:
    assert decide(after(request()), request(key=1), NOW, Rules(CLOSED, rekey=AUTOMATIC)).account.learner == JIM


def test_the_laptop_of_a_handed_on_tree_registers_into_its_own() -> None:
    known = after(request(JIM))
    old = replace(known.accounts[JIM], names=(), keys=())
    approval = accounts.Approval(HANDED_ON, JIM, "2026-11-23T10:00:00Z", "maria")
    new = replace(known.accounts[JIM], tree=f"{JIM}.2", learner=f"{JIM}.2", uid=20001, approvals=(approval,))
    plan = decide(known.plus(old).plus(new), request(JIM), NOW)
    assert (plan.account.tree, plan.login, plan.changed) == (f"{JIM}.2", JIM, False)
