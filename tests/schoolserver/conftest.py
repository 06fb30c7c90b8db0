# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of crashes stand on: a disk whose power can be cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import power
from power import Disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk that forgets, when its power is cut, what it was not told to flush; not made yet, gone after the test."""
    if reason := power.missing():
        pytest.skip(reason)
    with Disk(tmp_path / "disk") as disk:
        yield disk
