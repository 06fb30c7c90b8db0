# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from schoolserver import programs
from schoolserver.errors import Refusal


def test_what_a_program_prints_is_returned() -> None:
    assert programs.run("echo", "hello") == "hello\n"
    assert programs.run("echo", "hello", shown=False) == ""


def test_a_failure_is_one_line_with_the_programs_last_word() -> None:
    with pytest.raises(Refusal, match=r"^sh: the disk is full$"):
        programs.run("sh", "-c", "echo first >&2; echo the disk is full >&2; exit 3")
    with pytest.raises(Refusal, match=r"^sh: exit 3$"):
        programs.run("sh", "-c", "exit 3")


def test_a_program_that_is_missing_says_where_it_comes_from() -> None:
    with pytest.raises(Refusal, match=r"no-such-program is missing.*apt-get"):
        programs.run("no-such-program")


def test_a_program_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SECONDS", 0.1)
    with pytest.raises(Refusal, match="did not end"):
        programs.run("sleep", "60")
