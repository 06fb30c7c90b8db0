# SPDX-License-Identifier: GPL-3.0-or-later
"""A reflashed laptop is offered its documents before its empty Journal is backed up."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from xo_client import cli_restore, offer, restore_plan

OLD, NEW = "2026-11-20T101500Z", "2026-11-21T101500Z"


def history(documents: int | None, tree: str = "SHC00000011") -> dict[str, Any]:
    snapshots = [
        {"stamp": OLD, "pinned": False, "documents": 1},
        {"stamp": NEW, "pinned": False, "documents": documents},
    ]
    return {"protocol": 1, "trees": [{"tree": tree, "snapshots": snapshots, "best": NEW, "why": "newest"}]}


def test_an_empty_journal_is_offered_the_full_one() -> None:
    due = offer.is_due(history(120), 0)
    assert due is not None
    assert (due.documents, due.day, due.tree) == (120, "2026-11-21", "SHC00000011")


def test_a_journal_as_full_as_the_servers_is_backed_up() -> None:
    assert offer.is_due(history(120), 118) is None


def test_a_child_who_deleted_some_is_not_asked() -> None:
    assert offer.is_due(history(120), 60) is None
    assert offer.is_due(history(9), 1) is None


def test_an_empty_journal_is_never_sent_unasked_over_even_one_document() -> None:
    assert offer.is_due(history(1), 0) is not None
    assert offer.is_due(history(0), 0) is None


def test_a_new_laptop_has_nothing_to_be_offered() -> None:
    assert offer.is_due({"protocol": 1, "trees": [{"tree": "x", "snapshots": [], "best": None, "why": ""}]}, 0) is None


def test_where_the_server_cannot_count_the_laptop_does_if_its_journal_is_all_but_empty() -> None:
    assert offer.uncounted(history(None), 0)
    assert not offer.uncounted(history(None), 10)
    assert not offer.uncounted(history(120), 0)
    assert offer.is_due(history(None), 0) is None
    due = offer.is_due(history(None), 0, {("SHC00000011", NEW): 120})
    assert due is not None
    assert due.documents == 120


def test_a_stamp_that_is_none_is_no_snapshot() -> None:
    said = {"trees": [{"tree": "x", "best": "\ud800\x1b]", "snapshots": [{"stamp": "\ud800\x1b]", "documents": 99}]}]}
    assert offer.is_due(said, 0) is None


def test_the_fullest_of_a_childs_trees_is_offered() -> None:
    both = {"trees": history(2, "SHC00000022")["trees"] + history(80)["trees"]}
    due = offer.is_due(both, 2)
    assert due is not None
    assert due.tree == "SHC00000011"


KEYS = st.sampled_from(["trees", "tree", "best", "snapshots", "stamp", "documents"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["trees", "protocol"]), JSON))
def test_no_answer_of_a_server_makes_it_fail(answer: dict[str, Any]) -> None:
    offer.is_due(answer, 0)
    cli_restore.days(answer)
    restore_plan.sources(answer, restore_plan.BEST)
