# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolserver import pages
from schoolserver.entries import Document
from schoolserver.timeline import Version


def version(
    title: str = "My story", activity: str = "", mime_type: str = "", timestamp: int = 1_790_000_000
) -> Version:
    said = Document(title, activity, mime_type, 12, timestamp, False, "")
    return Version("SHC12345678", "uid", "2026-11-23T101500Z", "2026-11-23T101500Z", said, False, None)


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "empty"), (1, "less than 0.1 MB"), (99_999, "less than 0.1 MB"), (340_000, "0.3 MB"), (20_000_000, "20 MB")],
)
def test_sizes_are_told_in_megabytes(count: int, words: str) -> None:
    assert pages.size(count) == words


@pytest.mark.parametrize(
    ("activity", "mime_type", "word"),
    [
        ("org.laptop.AbiWordActivity", "text/plain", "Write"),
        ("org.laptop.MeasureActivity", "", "Measure"),
        ("org.laptop.Activity", "", "Activity"),
        ("Pippy", "", "Pippy"),
        ("", "image/png", "Picture"),
        ("", "<script>", "Thing"),
        ("org." + "x" * 500, "", "x" * 40),
    ],
)
def test_a_document_is_named_by_what_made_it(activity: str, mime_type: str, word: str) -> None:
    assert pages.kind(version(activity=activity, mime_type=mime_type)) == word


@pytest.mark.parametrize("timestamp", [0, 12345, 4_000_000_000])
def test_a_laptops_clock_that_cannot_be_right_is_not_shown(timestamp: int) -> None:
    assert pages.worked_on(version(timestamp=timestamp)) == ""


def test_the_day_of_the_last_change_is_shown_where_it_is_another() -> None:
    assert pages.worked_on(version(timestamp=1_790_000_000)) == "21 September 2026"
    assert pages.worked_on(version(timestamp=1_795_428_900)) == ""


@given(st.text())
def test_a_file_name_is_plain_whatever_the_title(title: str) -> None:
    name = pages.file_name(version(title=title))
    assert name.endswith(".xoj")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")
    assert 4 < len(name) < 50
