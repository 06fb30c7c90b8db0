# SPDX-License-Identifier: GPL-3.0-or-later
"""What each `make` target runs. A scenario that gets a folder under molecule/ is found here by itself."""

from __future__ import annotations

import functools
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import alone, hosts, images, journey, leftovers, places, preflight
from lab.journey import environment, program
from lab.report import Report
from lab.trouble import Trouble, call

SLOW = ("soak", "bench")  # marks of tests, and `make` targets
# What fills its host, or waits for a desktop's windows, gets the machine alone. The others wait for Ansible most of the
# time, one task after the other, and need half of the machine.
ALONE = ("attacks", "laptop")
AT_ONCE = 2


def lint(report: Report) -> None:
    """Run every linter; none may warn."""
    tools: dict[str, list[str | Path]] = {
        "ruff check": ["ruff", "check"],
        "ruff format": ["ruff", "format", "--check", "--diff"],
        "mypy": ["mypy"],
        "mypy, programs": ["mypy", "--scripts-are-modules", *scripts("python3")],
        # Laptops are older than servers: the client says 3.8 and must keep to it.
        "python 3.8": ["vermin", "--quiet", "--no-tips", "--target=3.8-", places.PROJECT / "files" / "xo-client"],
        "mypy, laptop": ["mypy", *(places.MOLECULE / "journey" / "laptop").glob("*.py")],
        "mypy, journey": ["mypy", *(places.MOLECULE / "journey" / "tests").glob("*.py")],
        "yamllint": ["yamllint", "--strict", "."],
        "shellcheck": ["shellcheck", *scripts("sh")],
        "codespell": ["codespell", *tracked()],
        "ansible-lint": ["ansible-lint", "--offline", "--strict"],
    }
    for name, (tool, *arguments) in tools.items():
        found = program(str(tool))
        # The laptop's programs find each other because they stand side by side.
        beside = {"MYPYPATH": str(places.MOLECULE / "journey" / "laptop")} if name == "mypy, laptop" else {}
        report.run(name, found if found.exists() else tool, *arguments, **environment(), **beside)


def unit(report: Report) -> None:
    """Run the tests that need no host, and print how much of the code they reach."""
    # In two processes, each with file systems, sockets and directories of its own. A file stays whole: what its tests
    # share is made once. Files in their order, not those with most tests first: those that take longest have few.
    beside = ["--numprocesses=2", "--dist=loadfile", "--no-loadscope-reorder"]
    coverage = ["--cov", "--cov-report=term:skip-covered"]
    report.run("unit tests", program("pytest"), "tests", *beside, *coverage, **environment())


def scenarios() -> list[str]:
    """Return the names of the scenarios, by their folders."""
    return sorted(file.parent.name for file in places.MOLECULE.glob("*/molecule.yml"))


def molecule(report: Report, scenario: str, keep: bool = False) -> None:
    """Run one molecule scenario from create to destroy; with `keep`, its hosts stay."""

    def check() -> None:
        if scenario not in scenarios():
            raise Trouble(f"no scenario {scenario}; there are: {', '.join(scenarios())}")
        preflight.check(report.target, {host.image for host in hosts.scenario(scenario)})

    def build() -> str:
        return ", ".join(hosts.build_images(hosts.scenario(scenario)).values())

    if report.do("preflight", check) and report.do("images", build) and journey.package(report):
        # Hosts that were taken away, or half made by a run that was stopped, are there still by molecule's own notes.
        report.run(f"reset {scenario}", program("molecule"), "reset", "-s", scenario, **environment())
        options = ["--destroy=never"] if keep else []
        report.run(f"molecule {scenario}", program("molecule"), "test", *options, "-s", scenario, **environment())


def slow(report: Report, mark: str) -> None:
    """Run what is slow by nature: the tests marked `mark`. What they print (how many they tried) is in the log."""
    report.run(mark, program("pytest"), "tests", "-m", mark, "-raP", **environment())


def everything(report: Report, run_journey: list[str], away: list[str]) -> None:
    """Run all that a change must pass; a failed step does not hide what comes after it.

    `run_journey` and `away` are the commands of `make lab` and `make lab-down`, typed as a newcomer types them.
    """
    lint(report)
    unit(report)

    def one(scenario: str) -> None:
        if scenario == journey.SCENARIO:
            report.run("make lab", *run_journey)
            report.run("make lab-down", *away)
        else:
            with alone.run(scenario):
                molecule(report, scenario)

    for scenario in ALONE:
        one(scenario)
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        list(pool.map(one, [scenario for scenario in scenarios() if scenario not in ALONE]))
    for mark in SLOW:
        report.skip(mark, f"slow by nature: make {mark}")


def down_all(report: Report, labs: list[str], with_images: bool) -> None:
    """Take `labs` away and check that nothing of them is left; take the images as well on request."""
    for lab in labs:
        try:
            with alone.run(lab):
                report.do(f"take {lab} away", functools.partial(_take_away, lab))
        except Trouble as trouble:
            report.skip(f"take {lab} away", str(trouble))
    if not labs:
        report.skip("hosts", "there are none")
    if with_images:
        report.do("images", lambda: f"{len(images.remove_all())} removed")


def _take_away(lab: str) -> str:
    hosts.down(lab)
    if left := leftovers.of(lab):
        raise Trouble(f"left behind: {', '.join(left)}: make lab-down again")
    return "nothing of it is left"


def tracked() -> list[Path]:
    """Return the project's own files: what git knows or would add."""
    # With sudo the clone belongs to somebody else, which git would refuse.
    ours = ("git", "-C", places.PROJECT, "-c", f"safe.directory={places.PROJECT}")
    listed = call(*ours, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return [Path(name) for name in listed if name and (places.PROJECT / name).is_file()]


def scripts(interpreter: str) -> list[Path]:
    """Return the project's scripts without a suffix whose first line names `interpreter`."""
    found = []
    for path in tracked():
        with (places.PROJECT / path).open("rb") as file:
            first = file.readline(64).decode("utf-8", "replace")
        if first.startswith("#!") and interpreter in re.split(r"[\s/]+", first) and path.suffix in {"", ".sh"}:
            found.append(path)
    return found
