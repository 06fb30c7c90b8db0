# SPDX-License-Identifier: GPL-3.0-or-later
"""`xo-restore` as a child or Sugar's window calls it: a program of its own, and in ssh's place the server's side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from server_side import LATER, OTHER, OWN, STAMP, School, look, uid_of, write
from xo_client import cli_restore
from xo_client.state import State

FIRST, SECOND = uid_of(1), uid_of(2)
PACKAGE = str(Path(cli_restore.__file__).parent.parent)


class Desk:
    """A laptop that is registered, on the desk of a child."""

    def __init__(self, top: Path) -> None:
        self.school = School(top / "school")
        self.home = top / "home"
        profile = self.home / ".sugar" / "default"
        self.journal = profile / "datastore"
        self.journal.mkdir(parents=True)
        self.state = State(profile)
        self.state.write("registered", {"login": OWN, "host": "schoolserver", "serial": OWN})
        self.state.key.touch()

    def started(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        path = f"{self.school.bin}:{os.environ['PATH']}"
        program = (
            f"import sys; sys.path.insert(0, {PACKAGE!r}); from xo_client.cli_restore import main; sys.exit(main())"
        )
        return subprocess.Popen(
            [sys.executable, "-c", program, *words],
            env={"HOME": str(self.home), "PATH": path, **environment},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        with self.started(*words, **environment) as process:
            out, err = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def lines(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run("--progress", "json", *words).stdout.splitlines()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_child_reads_what_came_back(desk: Desk) -> None:
    write(desk.school.snapshot(), FIRST, title="Back")
    desk.state.write("offer", {"documents": 1})
    ran = desk.run()
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-1] == "1 document is back in your Journal."
    assert desk.state.read("offer") == {}
    assert desk.run().stdout.splitlines()[-1] == "Your Journal has it all already."


def test_a_program_reads_plan_progress_and_end(desk: Desk) -> None:
    snapshot = desk.school.snapshot()
    write(snapshot, FIRST, title="Back", data=b"x" * 10_000)
    write(snapshot, SECOND, title="Broken", timestamp="never")
    events = desk.lines()
    assert events[0] == {
        "event": "progress", "phase": "ask", "documents": 0, "of_documents": 0, "bytes": 0, "of_bytes": 0
    }  # fmt: skip
    plan = next(event for event in events if event["event"] == "plan")
    assert (plan["documents"], plan["kept"], plan["day"]) == (2, 0, "2026-11-20")
    phases = [event["phase"] for event in events if event["event"] == "progress"]
    assert sorted(set(phases), key=phases.index) == ["ask", "fetch", "check", "move"]
    why = "its timestamp is no number that Sugar can read"
    assert events[-1] == {
        "event": "end", "outcome": "done", "reason": "done", "message": "1 document is back in your Journal.",
        "retry": False, "left": [{"uid": SECOND, "title": "Broken", "why": why}],
    }  # fmt: skip


@pytest.mark.parametrize("words", [[], ["--list"]])
def test_a_cancel_does_not_wait_for_a_server_that_says_nothing(desk: Desk, words: list[str]) -> None:
    asked = desk.school.top / "asked"
    (desk.school.bin / "ssh").write_text(f"#!/bin/sh\ntouch {asked}\nexec sleep 30\n")
    with desk.started("--progress", "json", *words) as process:
        while not asked.exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=5)
    assert process.returncode == 3
    if not words:
        assert json.loads(out.splitlines()[-1])["outcome"] == "cancelled"
    assert not look(desk.journal)


def test_a_broken_connection_can_be_tried_again(desk: Desk) -> None:
    write(desk.school.snapshot(), FIRST, data=os.urandom(500_000))
    desk.school.cut_off_after(100_000)
    end = desk.lines()[-1]
    assert (end["outcome"], end["reason"], end["retry"]) == ("failed", "network", True)
    desk.school.cut_off_after(None)
    assert desk.lines()[-1]["outcome"] == "done"


def test_what_needs_a_teacher_is_said(desk: Desk) -> None:
    desk.school.snapshot()
    (desk.school.top / "status.json").write_text(json.dumps({"protocol": 1, "approval": "pending"}))
    ran = desk.run("--progress", "none")
    assert ran.returncode == 1
    assert "ask your teacher" in ran.stderr


def test_another_run_is_not_disturbed(desk: Desk) -> None:
    write(desk.school.snapshot(), FIRST)
    with desk.state.alone():
        end = desk.lines()[-1]
    assert (end["outcome"], end["reason"]) == ("failed", "running")
    assert not look(desk.journal)


def test_a_list_of_the_days(desk: Desk) -> None:
    write(desk.school.snapshot(STAMP), FIRST, title="Old")
    write(desk.school.snapshot("2026-11-20T180000Z", best=False), SECOND, title="Newer")
    write(desk.school.snapshot(LATER, OTHER), SECOND, title="Of the laptop before")
    said = json.loads(desk.run("--list", "--json").stdout)
    assert [(one["day"], one["stamp"], one["best"]) for one in said["days"]] == [
        ("2026-11-23", LATER, True),
        ("2026-11-20", "2026-11-20T180000Z", True),
    ]
    assert (said["approval"], said["missing"]) == ("none", 2)
    text = desk.run("--list").stdout
    assert "2026-11-23  (best)" in text
    assert "2 documents are not in your Journal." in text
    assert not look(desk.journal)


@pytest.mark.parametrize("words", [["--day", "yesterday"], ["--json"], ["--day", "2026-11-20", "--latest"], ["--what"]])
def test_words_that_mean_nothing(desk: Desk, words: list[str]) -> None:
    ran = desk.run(*words)
    assert ran.returncode == 2
    assert "xo-restore: error:" in ran.stderr


def test_a_title_that_the_terminal_has_no_signs_for_is_told_with_others(desk: Desk) -> None:
    write(desk.school.snapshot(), FIRST, title="Рисунок", timestamp="never")
    ran = desk.run(PYTHONIOENCODING="latin-1")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "left on the server: ???????" in ran.stdout
