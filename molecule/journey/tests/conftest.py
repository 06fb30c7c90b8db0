# SPDX-License-Identifier: GPL-3.0-or-later
"""The journey's two hosts, and the record of what was seen at each step (build/lab/journey.json)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

import on_host
from on_laptop import Run, new_child, put

PROJECT = Path(__file__).resolve().parents[3]
PROGRAMS = PROJECT / "molecule" / "journey" / "laptop"
RECORD = PROJECT / "build" / "lab" / "journey.json"


@dataclass
class Journey:
    """What earlier steps found out and later ones need. Documents are what list_documents.py says of them, by uid."""

    serial: str = ""
    uids: dict[str, str] = field(default_factory=dict)  # by title
    first: dict[str, Any] = field(default_factory=dict)  # the Journal at the first run
    second: dict[str, Any] = field(default_factory=dict)  # and at the second
    stamps: list[str] = field(default_factory=list)
    deleted_title: str = ""  # left on the Journal page for a person to find


@dataclass
class Step:
    """One step of the record."""

    step: str
    title: str
    seen: list[str] = field(default_factory=list)
    ok: bool = False
    seconds: float = 0.0


STEPS = pytest.StashKey[list[Step]]()
JOURNEY = pytest.StashKey[Journey]()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Host:
    """The school server, as root over ssh."""
    return on_host.named(request, "schoolserver")


@pytest.fixture(scope="session")
def laptop(request: pytest.FixtureRequest) -> Host:
    """The laptop, as root over ssh, with the programs of ../laptop on it."""
    host = on_host.named(request, "xo1")
    put(host, PROGRAMS)
    return host


@pytest.fixture(scope="session")
def child(laptop: Host) -> Run:
    """A fresh child on the laptop: `child("register")` runs a program of ../laptop and returns what it said."""
    return new_child(laptop)


@pytest.fixture(scope="session")
def journey(request: pytest.FixtureRequest) -> Journey:
    """What the steps tell each other."""
    return request.config.stash.setdefault(JOURNEY, Journey())


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Note what was seen at this step: `seen("40 documents")`."""
    return _step(request.node).seen.append


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave a step out when one that it builds on has failed."""
    step = _step(item)
    for earlier in item.config.stash[STEPS]:
        if earlier is not step and not earlier.ok and earlier.step.isdigit() and step.step.isdigit():
            pytest.skip(f"step {earlier.step} failed, and this one builds on it: {earlier.title}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record how the step went, and write the record at once: a journey that is cut short has one as well."""
    report = yield
    step = _step(item)
    step.seconds += call.duration
    if report.when == "call":
        step.ok = report.passed
    if not report.passed:
        step.seen.append(_reason(report))
    _write(item.config)
    return report


def _step(item: pytest.Item) -> Step:
    """Return the step that the test stands for: its number from the test's name, its title from the docstring."""
    steps = item.config.stash.setdefault(STEPS, [])
    match = re.match(r"test_(\d+)_", item.name)
    function = getattr(item, "function", None)
    number, title = match[1] if match else "·", (getattr(function, "__doc__", None) or item.name).rstrip(".")
    for step in steps:
        if step.title == title:
            return step
    steps.append(Step(number, title))
    return steps[-1]


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):  # skipped: file, line, reason
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(getattr(crash, "message", "failed")).splitlines()[0]


def _write(config: pytest.Config) -> None:
    journey = config.stash.setdefault(JOURNEY, Journey())
    record = {
        "steps": [{**vars(step), "seen": "; ".join(step.seen)} for step in config.stash[STEPS]],
        "journal": {"serial": journey.serial, "deleted_title": journey.deleted_title},
    }
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def wait_until(true: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Return when `true()` is; fail, naming `what`, when it is not within `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)
