# SPDX-License-Identifier: GPL-3.0-or-later
"""`xs keepsake …`: what is kept of documents that left the Journal, and how a person has it removed for ever."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from schoolserver import datastore, entries, keepsake_removal, keepsakes, paths
from schoolserver.cli_laptop import print_table, who_am_i
from schoolserver.cli_restore import trees_of
from schoolserver.errors import Refusal
from schoolserver.house import House


@dataclass(frozen=True)
class Keepsake:
    """One, as a list shows it."""

    tree: str
    uid: str
    stamp: str  # the last snapshot that had the document
    bytes: int
    title: str


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `xs keepsake` to `parser`."""
    verbs = parser.add_subparsers(required=True, metavar="verb")
    verb = verbs.add_parser("list", help="list what is kept of documents that left a child's Journal")
    verb.add_argument("laptop", help="a laptop of the child, or a tree such as SHC12345678.2")
    verb.add_argument("--json", action="store_true", help="for programs")
    verb.set_defaults(run=show_list)
    # No abbreviations: "--for" must not stand for ever.
    verb = verbs.add_parser("remove", help="remove what is kept of one document, for ever", allow_abbrev=False)
    verb.add_argument("tree", help="as the list names it")
    verb.add_argument("uid")
    verb.add_argument("stamp", nargs="?", help="one keepsake of the document; all of them when left out")
    verb.add_argument("--for-ever", action="store_true", help="nothing brings it back")
    verb.set_defaults(run=remove)


def kept(at: Path) -> list[Keepsake]:
    """Return the keepsakes of the tree `at`, by uid and stamp; raise OSError."""
    found = []
    for uid, stamp in keepsakes.every(at):
        with datastore.entry_at(at / keepsakes.DIRECTORY / uid / stamp) as entry:
            said = entries.describe(entry)
        found.append(Keepsake(at.name, uid, stamp, said.size, said.title))
    return found


def show_list(arguments: argparse.Namespace) -> None:
    """Print the keepsakes of all trees of one learner."""
    found = [one for tree in trees_of(arguments.laptop) for one in kept(paths.USERS / tree)]
    if arguments.json:
        print(json.dumps({"keepsakes": [asdict(one) for one in found]}, indent=1, ensure_ascii=False))
        return
    rows = [("TREE", "UID", "AS OF", "BYTES", "TITLE")]
    print_table([*rows, *((one.tree, one.uid, one.stamp, str(one.bytes), one.title) for one in found)])


def remove(arguments: argparse.Namespace) -> None:
    """Remove keepsakes, or without --for-ever say what that would be."""
    given = (House(), arguments.tree, arguments.uid, arguments.stamp, who_am_i())
    if not arguments.for_ever:
        would = keepsake_removal.remove(*given, check=True).said
        raise Refusal(f"nothing is removed yet; with --for-ever: {would}")
    print(keepsake_removal.remove(*given, catalog_file=paths.CATALOG).said)
