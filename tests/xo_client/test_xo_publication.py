# SPDX-License-Identifier: GPL-3.0-or-later
"""What calls itself schoolserver may say anything: it is a pair of versions, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xo_client import publication
from xo_client.publication import Published

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["version", "school"]), inner),
)


def test_a_publication_says_both_versions() -> None:
    text = b'{"stamp": "2026-11-26T101500Z", "version": "0.2.0+src.0a1b2c3d4e5f", "school": "20261126101500"}'
    assert publication.parse(text) == Published("0.2.0+src.0a1b2c3d4e5f", "20261126101500")


def test_one_of_an_older_server_says_nothing_of_its_keys() -> None:
    assert publication.parse(b'{"version": "0.2.0"}') == Published("0.2.0", "")


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\xff", b"[]", b"{}", b'{"version": 2}', b'{"version": "0.2.0\\n"}', b'{"version": "-o x"}',
        b'{"version": "\\u0660.1"}', b'{"version": "1' + b"0" * 100 + b'"}', b'{"a":' * 100_000,
        b'{"version": "0.2.0", "more": "' + b"x" * 100_000 + b'"}',
    ],
)  # fmt: skip
def test_what_is_no_publication_says_nothing(text: bytes) -> None:
    assert publication.parse(text) is None


@given(_JSON)
def test_any_json_is_versions_or_nothing(said: Any) -> None:
    found = publication.parse(json.dumps(said).encode())
    for version in found or ():
        assert publication.version(version) == version


@given(st.binary())
def test_any_bytes_are_versions_or_nothing(said: bytes) -> None:
    publication.parse(said)


def test_where_nobody_answers_nothing_is_published() -> None:
    assert publication.fetch("127.0.0.2") is None
    assert publication.fetch("no host") is None
