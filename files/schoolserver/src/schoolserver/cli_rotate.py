# SPDX-License-Identifier: GPL-3.0-or-later
"""`xs rotate`: what rotation does now, or would do, in words for a person."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from schoolserver import rotation, settings
from schoolserver.errors import Refusal
from schoolserver.house import House
from schoolserver.rotation import Outcome
from schoolserver.rotation_plan import Verdict


def add_words(verb: argparse.ArgumentParser) -> None:
    """Add the words of `xs rotate` to `verb`."""
    verb.add_argument("--dry-run", action="store_true", help="say what would be removed and why, and remove nothing")
    verb.add_argument("--all", action="store_true", help="name each snapshot that stays, too, and why it does")
    verb.set_defaults(run=rotate)


def rotate(arguments: argparse.Namespace) -> None:
    """Remove what the policy no longer keeps, or say what that would be."""
    where = House()
    policy, space = rotation.policy_of(settings.load("snapshots")), rotation.space_of(where.users)
    print(f"The policy: {policy}. A snapshot's age is counted up to the newest of its tree.")
    if space.pressure:
        print(f"But {space}.")
    count, failed = 0, []
    for outcome in rotation.rotate(where, policy, space, datetime.now(UTC), dry_run=arguments.dry_run):
        for line in told(outcome, all_of_them=arguments.all):
            print(line)
        count += len(outcome.removed)
        if outcome.error:
            failed.append(f"{outcome.tree}: {outcome.error}")
    print(f"{count} snapshots {'would be ' if arguments.dry_run else ''}removed")
    if failed:
        raise Refusal(f"not rotated: {'; '.join(failed)}")


def told(outcome: Outcome, *, all_of_them: bool) -> list[str]:
    """Return the lines that tell what became of one tree's snapshots, or would: what goes, and what stays."""
    stays, goes = outcome.plan.named(keep=True), outcome.plan.named(keep=False)
    lines = [f"{outcome.tree}: {_counted(stays.values())}"] if stays else []
    for name, verdict in sorted([*stays.items(), *goes.items()], key=_by_directory_and_age):
        if name in outcome.removed:
            lines.append(f"  - {name}  {_why(verdict)}")
        elif all_of_them and verdict.keep:
            lines.append(f"    {name}  {_why(verdict)}")
    return lines


def _counted(stays: Iterable[Verdict]) -> str:
    counts = Counter(verdict.why for verdict in stays)
    return f"{counts.total()} stay: {', '.join(f'{count} {why}' for why, count in counts.most_common())}"


def _by_directory_and_age(pair: tuple[str, Verdict]) -> tuple[bool, str]:
    return "/" in pair[0], pair[0]


def _why(verdict: Verdict) -> str:
    age = "" if verdict.age is None else f"{verdict.age} days old: "
    return f"{age}{verdict.why}{f', which is {verdict.instead}' if verdict.instead else ''}"
