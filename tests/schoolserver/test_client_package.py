# SPDX-License-Identifier: GPL-3.0-or-later
"""What is news for laptops, and what they would ignore."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from schoolserver.client_package import Given, Package, comes_after, is_news
from schoolserver.errors import Refusal


def given(version: str, content: str = "", *, rpm: bool = False) -> Given:
    deb = Package(Path("a.deb"), "deb", version, f"deb {version} {content}")
    return Given(deb, Package(Path("a.rpm"), "rpm", "", f"rpm {version} {content}") if rpm else None)


def news(new: Given, old: Given, *, older_too: bool = False) -> bool:
    return is_news(new, old.deb.version, old.digests, lambda a, b: a > b, older_too=older_too)


@pytest.mark.parametrize(
    ("new", "old", "is_so"),
    [
        (given("1.0"), given("1.0"), False),
        (given("1.1"), given("1.0"), True),
        (given("1.0", rpm=True), given("1.0"), True),
        (given("1.0"), given("1.0", rpm=True), True),
    ],
)
def test_what_is_published_already_is_no_news(new: Given, old: Given, is_so: bool) -> None:
    assert news(new, old) is is_so


def test_the_same_version_with_other_content_is_refused_even_when_older_ones_are_asked_for() -> None:
    with pytest.raises(Refusal, match="give it a new version"):
        news(given("1.0", "other"), given("1.0"), older_too=True)


def test_an_older_version_is_refused_unless_it_is_asked_for() -> None:
    with pytest.raises(Refusal, match=r"0\.9 is older than 1\.0.*withdraw"):
        news(given("0.9"), given("1.0"))
    assert news(given("0.9"), given("1.0"), older_too=True)


@pytest.mark.parametrize(
    ("version", "other", "is_so"),
    [("0.10", "0.9", True), ("0.9", "0.10", False), ("1.0", "1.0", False), ("1.0~rc1", "1.0", False),
     ("1.0+20261126.a", "1.0", True)],
)  # fmt: skip
def test_versions_are_in_debians_order(version: str, other: str, is_so: bool) -> None:
    if shutil.which("dpkg") is None:
        pytest.skip("dpkg is not installed")
    assert comes_after(version, other) is is_so
