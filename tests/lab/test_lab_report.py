# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab import closing, places
from lab.report import Report, count_tests, plain, what_matters
from lab.trouble import Trouble

FATAL = """\
PLAY [Make the school server] ****
TASK [xs_library : install | Make the image] ****
ok: [schoolserver]
TASK [xs_library : install | Take the room] ****
fatal: [schoolserver]: FAILED!
    msg: no space left
PLAY RECAP ****
"""
PYTEST = """\
def test_one() -> None:
>       assert 1 == 2
E       assert 1 == 2
===== short test summary info =====
FAILED tests/test_one.py::test_one - assert 1 == 2
========= 1 failed, 3 passed, 2 skipped in 1.20s =========
INFO     default > destroy: Executed
"""


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    monkeypatch.setattr(places, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(places, "PROJECT", tmp_path)
    return Report("try", loud=False)


@pytest.mark.parametrize(
    ("output", "counts"),
    [
        (PYTEST, (3, 1, 2)),
        ("5 passed in 0.01s\n", (5, 0, 0)),
        ("== 1 failed, 2 passed in 99.16s (0:01:39) ==\n== 4 passed in 1.0s ==\n", (6, 1, 0)),
        ("== 1 error in 4.44s ==\n", (0, 1, 0)),
        ("9 passed in 1.0s\n7 passed, 1 failed, 2 skipped\n", (7, 1, 2)),
        ("All checks passed!\n", None),
        ("no tests ran in 0.96s\n", None),
    ],
)
def test_the_closing_lines_of_pytest_are_counted(output: str, counts: tuple[int, int, int] | None) -> None:
    assert count_tests(output) == counts


def test_of_a_failed_playbook_the_task_and_its_error_are_shown() -> None:
    shown = what_matters(FATAL)
    assert shown[0].startswith("TASK [xs_library : install | Take the room]")
    assert shown[1].startswith("fatal: ")
    assert "no space left" in shown[2]
    assert not any("Make the image" in line for line in shown)


def test_of_failed_tests_the_assertion_and_the_summary_are_shown() -> None:
    assert what_matters(PYTEST) == [
        ">       assert 1 == 2",
        "E       assert 1 == 2",
        "FAILED tests/test_one.py::test_one - assert 1 == 2",
        "========= 1 failed, 3 passed, 2 skipped in 1.20s =========",
    ]


def test_of_a_run_that_was_not_idempotent_the_tasks_are_shown() -> None:
    output = "CRITICAL Idempotence test failed because of the following tasks:\n*  => Copy\n*  => Install\nINFO x\n"
    assert what_matters(output)[1:] == ["*  => Copy", "*  => Install"]


def test_of_anything_else_the_last_lines_are_shown() -> None:
    assert what_matters("".join(f"line {number}\n" for number in range(100)), 2) == ["line 98", "line 99"]


def test_colours_links_and_molecules_frame_are_taken_away() -> None:
    assert plain("  │ \x1b[31mfatal: \x1b]8;;http://x\x1b\\rule\x1b]8;;\x1b\\") == "fatal: rule"


def test_a_step_that_fails_is_named_with_its_last_lines_and_its_log(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not report.run("say and fail", sys.executable, "-c", "print('the disk is full'); raise SystemExit(3)")
    said = capsys.readouterr().out
    assert "✗ say and fail: failed" in said
    assert "the disk is full" in said
    assert "logs/try-say-and-fail.log" in said
    assert not report.ok()


def test_the_summary_ends_with_a_line_that_counts_and_says_why_something_was_skipped(report: Report) -> None:
    report.run("tests", sys.executable, "-c", "print('3 passed, 1 skipped in 0.10s')")
    report.do("hosts", lambda: None)
    report.skip("soak", "slow by nature")
    lines = report.summary().splitlines()
    assert lines[-1] == "4 passed, 0 failed, 1 skipped"
    assert any(line.startswith("soak") and "skipped" in line and "slow by nature" in line for line in lines)


def test_what_fails_outside_of_pytest_counts_as_failed(report: Report) -> None:
    def fail() -> None:
        raise Trouble("no room: make room")

    report.do("preflight", fail)
    report.run("converge", sys.executable, "-c", "raise SystemExit(2)")
    assert report.summary().splitlines()[-1] == "0 passed, 2 failed, 0 skipped"


def test_what_slow_tests_tried_is_summed_and_said(report: Report) -> None:
    said = "counted: 200000 inputs\\ncounted: 74 power cuts\\ncounted: 900000 inputs\\n3 passed in 60.10s"
    report.run("soak", sys.executable, "-c", f"print('{said}')")
    assert "3 passed; 1,100,000 inputs; 74 power cuts" in report.summary()


def test_no_test_at_all_has_failed(report: Report) -> None:
    assert not report.run("soak", sys.executable, "-c", "print('no tests ran in 0.01s'); raise SystemExit(5)")


def test_the_table_wraps_what_is_long_and_names_what_failed() -> None:
    steps = [{"step": "1", "title": "documents", "seen": "word " * 40, "ok": False, "seconds": 1.25}]
    lines = closing.table(steps).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert "FAILED: word" in lines[3]
    assert "1.2 s" in lines[3]


@pytest.mark.parametrize(("columns", "wide"), [(40, 80), (80, 80), (100, 100), (200, 132)])
def test_the_table_is_as_wide_as_the_terminal_within_reason(columns: int, wide: int) -> None:
    steps = [{"step": "1", "title": "a title of many words " * 3, "seen": "word " * 40, "ok": True, "seconds": 61.25}]
    assert {closing.width(line) for line in closing.table(steps, columns).splitlines()} == {wide}


def test_signs_that_stand_on_a_letter_take_no_column() -> None:
    steps = [{"step": "1", "title": "नेपाली शीर्षक", "seen": "é e\u0301 中", "ok": True, "seconds": 1}]
    assert {closing.width(line) for line in closing.table(steps, 80).splitlines()} == {80}
    assert closing.width("e\u0301") == 1
    assert closing.width("कि") == 2
    assert closing.width("中") == 2


def test_the_link_is_shown_with_the_servers_address_for_a_browser_on_this_machine() -> None:
    text = closing.to_try(
        {"serial": "SHC12345678", "deleted_title": "मेरो घर"},
        "http://schoolserver/journal/open/abc", "10.1.2.10", {"schoolserver": "ssh -F x schoolserver"},
    )  # fmt: skip
    assert "http://10.1.2.10/journal/open/abc" in text
    assert "http://schoolserver/journal/open/abc" in text
    assert "मेरो घर" in text
    assert "xs page SHC12345678" in text


def test_a_journey_that_recorded_nothing_has_an_empty_record(tmp_path: Path) -> None:
    assert closing.recorded(tmp_path / "none.json") == {"steps": [], "journal": {}}
    (tmp_path / "torn.json").write_text('{"steps": [', encoding="utf-8")
    assert closing.recorded(tmp_path / "torn.json") == {"steps": [], "journal": {}}
