# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's command line, called by the Makefile and by molecule's create and destroy: python3 -m lab --help."""

from __future__ import annotations

import argparse
import shlex
import sys

from lab import alone, hosts, journey, leftovers, places, suite
from lab.report import Report
from lab.trouble import Trouble


def main(arguments: list[str]) -> int:
    """Do what `arguments` ask; return the exit status."""
    asked = _parser().parse_args(arguments)
    if asked.what == "up":
        at = hosts.up(asked.lab, asked.scenario)
        print("\n".join(f"{name} {address}" for name, address in at.items()))
        return 0
    if asked.what == "down":
        hosts.down(asked.lab)
        return 0
    targets = {"all": "test", "molecule": f"molecule SCENARIO={getattr(asked, 'scenario', '')}"}
    report = Report(targets.get(asked.what, asked.what))
    with alone.run(*_labs(asked)):
        _run(asked, report)
    print(report.summary(), flush=True)
    places.LOGS.mkdir(parents=True, exist_ok=True)
    (places.LOGS / "summary").write_text(report.summary() + "\n", encoding="utf-8")
    return 0 if report.ok() else 1


def _labs(asked: argparse.Namespace) -> list[str]:
    """Return the labs that nothing else may touch meanwhile."""
    return {"lab": [getattr(asked, "lab", "")], "molecule": [getattr(asked, "scenario", "")]}.get(asked.what, [])


def _run(asked: argparse.Namespace, report: Report) -> None:
    if asked.what == "lab":
        journey.run(report, asked.lab)
    elif asked.what == "lab-down":
        suite.down_all(report, [asked.lab] if asked.lab else leftovers.labs(), asked.images)
    elif asked.what == "lint":
        suite.lint(report)
    elif asked.what == "unit":
        suite.unit(report)
    elif asked.what == "molecule":
        suite.molecule(report, asked.scenario, asked.keep)
    elif asked.what in suite.SLOW:
        suite.slow(report, asked.what)
    else:
        suite.everything(report, shlex.split(asked.journey), shlex.split(asked.away))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="Hosts to test on, and what is run on them.")
    what = parser.add_subparsers(dest="what", required=True, metavar="what")
    up = what.add_parser("up", help="boot fresh hosts of a scenario")
    up.add_argument("scenario")
    up.add_argument("lab", help="the name under which they stand")
    down = what.add_parser("down", help="take the hosts of one lab away")
    down.add_argument("lab")
    lab = what.add_parser("lab", help="the journey of a real laptop; the hosts stay up")
    lab.add_argument("lab", help="the name under which they stand")
    away = what.add_parser("lab-down", help="take every lab away, or one")
    away.add_argument("lab", nargs="?", help="only this one")
    away.add_argument("--images", action="store_true", help="the images as well")
    what.add_parser("lint")
    what.add_parser("unit")
    scenario = what.add_parser("molecule", help="one scenario")
    scenario.add_argument("scenario")
    scenario.add_argument("--keep", action="store_true", help="let the hosts stand")
    for mark in suite.SLOW:
        what.add_parser(mark)
    everything = what.add_parser("all", help="all that make test runs")
    everything.add_argument("--journey", required=True, help="the command that runs the journey")
    everything.add_argument("--away", required=True, help="the command that takes its hosts away")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Trouble as trouble:
        print(f"lab: {trouble}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"\nlab: stopped; hosts may still stand (make lab-down); logs: {places.LOGS}", file=sys.stderr)
        sys.exit(130)
