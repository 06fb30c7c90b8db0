# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schoolserver.groups import together

NAMED = st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3))


def test_what_stands_side_by_side_hangs_together_also_through_others() -> None:
    group = together([["a", "b"], ["c"], ["d", "e"], ["b", "d"]])
    assert group["a"] == group["b"] == group["d"] == group["e"] != group["c"]


@given(NAMED)
def test_it_is_the_same_as_to_merge_until_nothing_overlaps(named: list[list[str]]) -> None:
    sets = [set(names) for names in named]
    while pair := next(((one, two) for one in sets for two in sets if one is not two and one & two), None):
        sets = [each for each in sets if each is not pair[0] and each is not pair[1]] + [pair[0] | pair[1]]
    group = together(named)
    assert {frozenset(name for name in group if group[name] == top) for top in group.values()} == set(
        map(frozenset, sets)
    )
