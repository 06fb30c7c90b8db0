# SPDX-License-Identifier: GPL-3.0-or-later
"""Who belongs together, as it follows from the accounts' lines."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from laptops import ANN, EVE, JIM, after, request
from schoolserver.accounts import Account
from schoolserver.learners import Learners

FURTHER = f"{JIM}.2"
KNOWN = after(request(JIM, 0), request(ANN, 1), request(EVE, 2), request(JIM, 3)).accounts


def joined(*pairs: tuple[str, str]) -> dict[str, Account]:
    """The four accounts, with these lines."""
    return {**KNOWN, **{tree: replace(KNOWN[tree], learner=learner) for tree, learner in pairs}}


def test_without_approvals_everybody_is_alone() -> None:
    learners = Learners(KNOWN)
    assert learners.all() == {tree: [tree] for tree in sorted(KNOWN)}
    assert [learners.written_by(account) for account in KNOWN.values()] == list(KNOWN)


def test_a_reflashed_laptop_writes_its_old_tree_and_the_further_one_is_history() -> None:
    learners = Learners(accounts := joined((FURTHER, JIM)))
    assert learners.trees_of(JIM) == learners.trees_of(FURTHER) == [JIM, FURTHER]
    assert learners.written_by(accounts[FURTHER]) == JIM


def test_a_replaced_laptop_writes_its_own_tree_beside_the_old_one() -> None:
    learners = Learners(accounts := joined((ANN, JIM)))
    assert learners.trees_of(ANN) == [JIM, ANN]
    assert learners.written_by(accounts[ANN]) == ANN


def test_who_was_joined_to_a_laptop_comes_along_when_that_is_joined_and_goes_back_with_it() -> None:
    learners = Learners(accounts := joined((FURTHER, JIM), (JIM, ANN)))
    assert learners.trees_of(FURTHER) == [JIM, FURTHER, ANN]
    assert learners.learner_of(FURTHER) == ANN
    assert learners.written_by(accounts[FURTHER]) == JIM, "the same laptop's tree, not that of another uid"


def test_a_line_to_a_tree_that_is_gone_leads_nowhere() -> None:
    learners = Learners(joined((ANN, "SHC99999999")))
    assert learners.trees_of(ANN) == [ANN]


def test_a_further_tree_logs_in_under_its_serial() -> None:
    assert Learners(KNOWN).logins_of(KNOWN[FURTHER]) == [JIM]


def test_a_further_tree_logs_in_under_the_name_of_whoever_has_its_serial() -> None:
    # A PC that invents serials had this one; a stranger came with it.
    accounts = after(request(JIM, 0), request("ABC12345678", 0), request("ABC12345678", 1)).accounts
    learners = Learners(accounts)
    assert learners.login_of(accounts["ABC12345678.2"]) == "ABC12345678"
    assert learners.is_waiting(accounts["ABC12345678.2"])


def test_a_laptop_in_store_is_there_with_all_its_childs_keys_and_no_strangers() -> None:
    stored = {**joined((FURTHER, JIM)), JIM: replace(KNOWN[JIM], retired="2026-11-23T10:00:00Z")}
    learners = Learners(stored)
    assert learners.is_retired(stored[JIM])
    assert learners.is_retired(stored[FURTHER])
    stranger = {**stored, FURTHER: KNOWN[FURTHER]}
    assert not Learners(stranger).is_retired(KNOWN[FURTHER])


def test_only_a_new_key_of_a_known_serial_waits_for_a_person() -> None:
    waiting = [tree for tree, account in KNOWN.items() if Learners(KNOWN).is_waiting(account)]
    assert waiting == [FURTHER]
    assert not Learners(accounts := joined((FURTHER, JIM))).is_waiting(accounts[FURTHER])


LINES = st.lists(st.tuples(st.sampled_from(sorted(KNOWN)), st.sampled_from([*sorted(KNOWN), "SHC99999999"])))


@given(LINES)
def test_whatever_the_lines_say_each_tree_has_one_learner_and_every_key_one_tree(
    lines: list[tuple[str, str]],
) -> None:
    accounts = joined(*lines)
    learners = Learners(accounts)
    assert sorted(tree for trees in learners.all().values() for tree in trees) == sorted(accounts)
    for tree, account in accounts.items():
        assert tree in learners.trees_of(tree)
        assert {learners.learner_of(other) for other in learners.trees_of(tree)} == {learners.learner_of(tree)}
        written = accounts[learners.written_by(account)]
        assert written.uid == account.uid, "a session's uid owns what it writes"
        assert written.tree in learners.trees_of(tree)
