# SPDX-License-Identifier: GPL-3.0-or-later
"""`xs verify`: reads again at once what the timer reads once a month."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from schoolserver import paths, verify
from schoolserver.errors import Refusal
from schoolserver.house import House


def add_words(verb: argparse.ArgumentParser) -> None:
    """Add the words of `xs verify` to `verb`."""
    verb.add_argument("--fast", action="store_true", help="as fast as the disk can, whoever backs up meanwhile")
    verb.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Go on with what the timer began, or begin anew; raise Refusal where something has decayed."""
    where = House(users=paths.USERS, state=paths.STATE)
    pause = (lambda _: None) if arguments.fast else verify.considerate(where.users)
    passes = verify.run(where, datetime.now(UTC), pause, anew=True)
    if passes.decayed:
        raise Refusal(f"{len(passes.decayed)} files have decayed: see `xs status`")
