# SPDX-License-Identifier: GPL-3.0-or-later
"""Running steps so that a person can follow: progress, what matters when one fails, a summary at the end."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from lab import places
from lab.trouble import Trouble

HEARTBEAT_SECONDS = 20
_CLOSING = re.compile(r"^(?:=+ )?(?=.*\b(?:passed|failed|error|skipped)\b)(?P<counts>[\w ,]+) in [\d.]+s", re.MULTILINE)
_OURS = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.MULTILINE)
_COUNTED = re.compile(r"^counted: (\d+) (.+)$", re.MULTILINE)
_NOISE = re.compile(r"^(ok|changed|skipping|included): |^PLAY |^$")


@dataclass
class Step:
    """One step that ran, or was skipped: `note` says why, or what it counted. Seconds of wall clock."""

    name: str
    state: str  # "ok", "failed" or "skipped"
    seconds: float = 0.0
    note: str = ""
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def count_tests(output: str) -> tuple[int, int, int] | None:
    """Return (passed, failed, skipped) as `output` ends: our own last line, or pytest's summed; None where none is."""
    if ours := _OURS.findall(output):
        return (int(ours[-1][0]), int(ours[-1][1]), int(ours[-1][2]))
    found = [0, 0, 0]
    closings = list(_CLOSING.finditer(output))
    for closing in closings:
        for number, what in re.findall(r"(\d+) (\w+)", closing["counts"]):
            if what in {"passed", "xfailed"}:
                found[0] += int(number)
            elif what in {"failed", "error", "errors", "xpassed"}:
                found[1] += int(number)
            elif what == "skipped":
                found[2] += int(number)
    return (found[0], found[1], found[2]) if closings else None


def plain(output: str) -> str:
    """Return `output` without colours, links, and the frame that molecule draws around it."""
    output = re.sub(r"\x1b\[[0-9;]*m|\x1b\]8;[^\x1b\x07]*(?:\x1b\\|\x07)", "", output)
    return re.sub(r"^ *│ ", "", output, flags=re.MULTILINE)


def what_matters(output: str, most: int = 25) -> list[str]:
    """Return the lines of a failed step's plain `output` that say what went wrong, at most `most`."""
    lines = [line for line in output.splitlines() if not _NOISE.match(line)]
    for number, line in enumerate(lines):
        if line.startswith("✗ "):
            return lines[number : number + most]
    for number, line in enumerate(lines):
        if line.startswith(("fatal: ", "ERROR! ", "[ERROR]: ")):
            before = [one for one in lines[:number] if one.startswith(("TASK ", "RUNNING HANDLER "))]
            return [*before[-1:], *lines[number : number + most - 1]]
    for number, line in enumerate(lines):
        if "short test summary info" in line:
            said = [one for one in lines[:number] if one.startswith(("E  ", ">  "))]
            after = lines[number + 1 :]
            closing = next((place for place, one in enumerate(after) if _CLOSING.match(one)), len(after) - 1)
            return [*said[: most - 10], *after[: closing + 1][-10:]]
    for number, line in enumerate(lines):
        if "Idempotence test failed" in line:
            named = itertools.takewhile(lambda one: one.startswith("*"), lines[number + 1 :])
            return [line, *itertools.islice(named, most - 1)]
    return lines[-most:]


@dataclass
class Report:
    """The steps of one `make` target. `loud` shows all output as it comes (make … V=1)."""

    target: str
    loud: bool = bool(os.environ.get("V"))
    steps: list[Step] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def run(self, name: str, *command: str | Path, **environment: str) -> bool:
        """Run `command` as the step `name` with `environment` added; return whether it ended with 0.

        Its output goes to build/logs/. What tests counted, in lines such as `counted: 5 inputs`, is summed in the note.
        """
        log = _log(self.target, name)
        words = [str(word) for word in command]

        def work(file: TextIO) -> int:
            return self._follow(name, words, environment, file)

        step, output = self._timed(name, log, work)
        counts = count_tests(output)
        if step.state == "failed":
            step.passed, step.failed, step.skipped = counts or (0, 0, 0)
            step.failed = max(step.failed, 1)
            step.note = f"ended with {step.note}"
        else:
            step.passed, step.failed, step.skipped = counts or (1, 0, 0)
            step.note = _said(output) if counts else ""
        self._close(step, log, what_matters(output) if step.state == "failed" and not self.loud else [])
        return step.state != "failed"

    def do(self, name: str, action: Callable[[], str | None]) -> bool:
        """Call `action` as the step `name`; return whether it went well. It returns a note, or raises Trouble."""
        print(f"→ {name} …", flush=True)
        step = Step(name, "ok", passed=1)
        started = time.monotonic()
        try:
            step.note = action() or ""
        except Trouble as trouble:
            step.state, step.note, step.passed, step.failed = "failed", str(trouble), 0, 1
        step.seconds = time.monotonic() - started
        self._close(step, None, [])
        return step.state == "ok"

    def skip(self, name: str, why: str) -> None:
        """Note that the step `name` did not run, and why."""
        self._close(Step(name, "skipped", note=why), None, [])

    def ok(self) -> bool:
        """Return whether nothing has failed."""
        return all(step.state != "failed" for step in self.steps)

    def summary(self) -> str:
        """Return what ran, what was skipped and why, how long it took; the last line alone counts the tests."""
        width = max((len(step.name) for step in self.steps), default=0)
        lines = [
            f"{step.name:{width}}  {step.state:7}  {step.seconds:6.1f} s  {step.note}".rstrip() for step in self.steps
        ]
        passed, failed, skipped = (
            sum(getattr(step, one) for step in self.steps) for one in ("passed", "failed", "skipped")
        )
        took = time.monotonic() - self.started
        outcome = "all of it went well" if self.ok() else "NOT all of it went well"
        return "\n".join([
            "", f"make {self.target}", *lines, f"{outcome}; {took:.0f} s in all; logs are in build/logs/",
            f"{passed} passed, {failed} failed, {skipped} skipped",
        ])  # fmt: skip

    def _timed(self, name: str, log: Path, work: Callable[[TextIO], int]) -> tuple[Step, str]:
        print(f"→ {name} …", flush=True)
        started = time.monotonic()
        with log.open("w", encoding="utf-8") as file:
            code = work(file)
        output = plain(log.read_text(encoding="utf-8", errors="replace"))
        state = "failed" if code else "ok"
        return Step(name, state, time.monotonic() - started, str(code) if code else ""), output

    def _follow(self, name: str, words: list[str], environment: dict[str, str], file: TextIO) -> int:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", cwd=places.PROJECT, env={**os.environ, "NO_COLOR": "1", "COLUMNS": "160", **environment},
        )  # fmt: skip
        at = {"line": "starting"}
        done = threading.Event()

        def heartbeat() -> None:
            while not done.wait(HEARTBEAT_SECONDS):
                print(f"  … {name}: {at['line'][:100]}", flush=True)

        pulse = threading.Thread(target=heartbeat, daemon=True)
        if not self.loud:
            pulse.start()
        for line in process.stdout or ():
            file.write(line)
            if self.loud:
                sys.stdout.write(line)
            said = plain(line).strip().rstrip(" *")
            if said and not _NOISE.match(said):
                at["line"] = said
        code = process.wait()
        done.set()
        return code

    def _close(self, step: Step, log: Path | None, tail: list[str]) -> None:
        self.steps.append(step)
        sign = {"ok": "✓", "failed": "✗", "skipped": "–"}[step.state]
        print(
            f"{sign} {step.name}: {step.state}, {step.seconds:.1f} s" + (f", {step.note}" if step.note else ""),
            flush=True,
        )
        for line in tail:
            print(f"    {line}")
        if step.state == "failed" and log is not None:
            print(f"    all of it: {log.relative_to(places.PROJECT)}", flush=True)


def _said(output: str) -> str:
    closing = [match["counts"].strip() for match in _CLOSING.finditer(output)]
    total = [" ".join(line.split()[-1:]) for line in output.splitlines() if line.startswith("TOTAL ")]
    counted: Counter[str] = Counter()
    for number, what in _COUNTED.findall(output):
        counted[what] += int(number)
    tried = [f"{number:,} {what}" for what, number in counted.items()]
    return "; ".join([*closing, *tried, *(f"coverage {one}" for one in total)])


def _log(target: str, name: str) -> Path:
    places.LOGS.mkdir(parents=True, exist_ok=True)
    plain = re.sub(r"[^a-z0-9]+", "-", f"{target} {name}".lower()).strip("-")
    return places.LOGS / f"{plain}.log"
