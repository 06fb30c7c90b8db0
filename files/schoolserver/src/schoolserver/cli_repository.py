# SPDX-License-Identifier: GPL-3.0-or-later
"""`xs repository …`: what laptops install from this server, published and taken back by a person or by Ansible."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from schoolserver import repository, repository_key
from schoolserver.cli_laptop import print_table, who_am_i
from schoolserver.repository import Change, Repository


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `xs repository` to `parser`."""
    verbs = parser.add_subparsers(required=True, metavar="verb")
    verb = verbs.add_parser("publish", help="give laptops a version of xo-client")
    verb.add_argument("files", nargs="+", type=Path, metavar="file", help="its .deb, and its .rpm for Fedora")
    verb.add_argument("--older-too", action="store_true", help="a version before the current one as well")
    verb.set_defaults(run=publish)
    verb = verbs.add_parser("list", help="list what is published, and what was before")
    verb.add_argument("--json", action="store_true", help="for programs")
    verb.set_defaults(run=show_list)
    verb = verbs.add_parser("export", help="write what is published onto a stick, to install laptops from")
    verb.add_argument("directory", type=Path, help="new, empty, or filled by an earlier export")
    verb.set_defaults(run=export)
    verb = verbs.add_parser("withdraw", help="publish again what was before the current version")
    verb.set_defaults(run=withdraw)
    verb = verbs.add_parser("rotate-key", help="make a new key that signs beside the old one, or end the old one")
    verb.add_argument("--finish", action="store_true", help="end the old one: every laptop knows the new one")
    verb.set_defaults(run=rotate_key)


def publish(arguments: argparse.Namespace) -> None:
    """Publish packages, unless they are published already."""
    now = datetime.now(UTC)
    _told(repository.publish(Repository(), arguments.files, now, who_am_i(), older_too=arguments.older_too))


def show_list(arguments: argparse.Namespace) -> None:
    """Print the publications, oldest first."""
    where = Repository()
    current = repository.current(where.at)
    found = repository.publications(where.at)
    standing = next((one for one in found if one.stamp == current), None)
    stale = standing is not None and repository.is_stale(where, standing)
    if arguments.json:
        said = {"current": current, "stale": stale, "publications": [asdict(one) for one in found]}
        print(json.dumps(said, indent=1))
        return
    rows = [("PUBLISHED", "VERSION", "FOR", "KEYS", "")]
    for one in found:
        kinds = ", ".join(sorted(name.rsplit(".", 1)[1] for name in one.files))
        rows.append((one.stamp, one.version, kinds, str(len(one.keys)), "current" if one.stamp == current else ""))
    print_table(rows)
    for fingerprint in standing.fingerprints if standing else ():
        print(f"signed by {repository_key.readable(fingerprint)}")
    if stale:
        print("the keys, or our own parts, have changed since: publish the same files again, or run site.yml")


def export(arguments: argparse.Namespace) -> None:
    """Fill a stick."""
    stick = arguments.directory.absolute()
    version = repository.export(Repository(), stick)
    print(f"xo-client {version} is in {stick}: unmount the stick, and on a laptop run: sudo sh /media/…/install")


def withdraw(_: argparse.Namespace) -> None:
    """Go back to the publication before."""
    _told(repository.withdraw(Repository(), datetime.now(UTC), who_am_i()))


def rotate_key(arguments: argparse.Namespace) -> None:
    """Begin to change the key, or end it."""
    _told(repository.rotate_key(Repository(), datetime.now(UTC), who_am_i(), finish=arguments.finish))


def _told(change: Change) -> None:
    print(change.said if change.changed else f"{change.said}: nothing changed")
