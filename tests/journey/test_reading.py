# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the Journal page and what commands print: what the journey's tests rest on."""

from __future__ import annotations

import pytest

from reading import Item, items, matches

PAGE = """\
<ul><li class="document" data-uid="a1" data-gone="no"><a href="/journal/document/a1">&#2350;&#2375; &amp; I</a></li>
<li class="other"><a href="/elsewhere">no</a></li>
<li data-gone="yes" data-uid="b2" class="gone document">Lost<br>poem</li></ul><a href="/away">leave</a>
"""


def test_items_have_their_attributes_text_and_links() -> None:
    assert items(PAGE, "document") == [
        Item({"uid": "a1", "gone": "no"}, "मे & I", ["/journal/document/a1"]),
        Item({"uid": "b2", "gone": "yes"}, "Lostpoem", []),
    ]


def test_a_page_without_such_items_has_none() -> None:
    assert items(PAGE, "version") == []


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("a\nb\n", "a\nb"),
        ("a…c", "abbc\n"),
        ("a\n…\nz", "a\nz\n"),
        ("a\n…\nz", "a\nb\nc\nz\n"),
        ("[x]…", "[x]\n"),
        ("", "\n"),
    ],
)
def test_what_the_page_shows_is_recognised(expected: str, printed: str) -> None:
    assert matches(expected, printed)


@pytest.mark.parametrize(
    ("expected", "printed"),
    [("a", "a\nb"), ("a", ""), ("a…c", "a\nc"), ("a\n…\nz", "a\nb"), (".", "x"), ("a\nb", "a\n")],
)
def test_what_the_page_does_not_show_is_not(expected: str, printed: str) -> None:
    assert not matches(expected, printed)
