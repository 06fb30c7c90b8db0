# SPDX-License-Identifier: GPL-3.0-or-later
"""The `xs` command: what a person types on the server. Each verb calls the function that the services call."""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from schoolserver import __version__, catalog, local_socket, paths, registry, rotation, settings
from schoolserver.errors import Refusal


def page(arguments: argparse.Namespace) -> None:
    """Print a link that opens one laptop's Journal page, once."""
    tree = _tree(arguments.serial)
    answer = _ask("ticket", {"tree": tree})
    print(answer["url"])


def laptop_list(arguments: argparse.Namespace) -> None:
    """Print every tree with its login names, nick and newest snapshot."""
    rows = [
        {**asdict(row), "latest": _latest(row.tree)} for row in sorted(registry.rows(), key=lambda row: row.registered)
    ]
    if arguments.json:
        print(json.dumps({"laptops": rows}, indent=1))
        return
    table = [("TREE", "LOGS IN AS", "NICK", "REGISTERED", "LATEST BACKUP")]
    for row in rows:
        names = " ".join(row["names"]) or row["tree"].partition(".")[0]
        table.append((row["tree"], names, _printable(row["nick"]), row["registered"], row["latest"] or "none yet"))
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def rotate(arguments: argparse.Namespace) -> None:
    """Remove what the policy no longer keeps, or say what that would be."""
    keep_days, count, failed = settings.load("snapshots").keep_days, 0, []
    rotated = rotation.rotate_all(paths.USERS, keep_days, datetime.now(UTC), dry_run=arguments.dry_run)
    for tree, stamps, error in rotated:
        for stamp in stamps:
            print(f"{tree.name}  {stamp}")
            count += 1
        if error:
            failed.append(f"{tree.name}: {error}")
    print(f"{count} snapshots {'would be ' if arguments.dry_run else ''}removed; the policy keeps {keep_days} days")
    if failed:
        raise Refusal(f"not rotated: {'; '.join(failed)}")


def catalog_rebuild(_: argparse.Namespace) -> None:
    """Make the catalog anew from the disk."""
    catalog.rebuild(paths.CATALOG, paths.USERS)
    print(f"{paths.CATALOG} is rebuilt")


def check_settings(arguments: argparse.Namespace) -> None:
    """Say whether a settings file can be read; the roles ask this before they put one in place."""
    settings.parse(arguments.part, arguments.file.read_text(encoding="utf-8"), str(arguments.file))


def parser() -> argparse.ArgumentParser:
    """Return the grammar of the command line."""
    top = argparse.ArgumentParser(prog="xs", description="The school server's own command.")
    top.add_argument("--version", action="version", version=f"xs {__version__}")
    verbs = top.add_subparsers(required=True, metavar="verb")

    verb = verbs.add_parser("page", help="print a link that opens a laptop's Journal page, once")
    verb.add_argument("serial", help="the laptop's serial, or a tree such as SHC12345678.2")
    verb.set_defaults(run=page)

    laptops = verbs.add_parser("laptop", help="who is registered").add_subparsers(required=True, metavar="verb")
    verb = laptops.add_parser("list", help="list the laptops")
    verb.add_argument("--json", action="store_true", help="for programs")
    verb.set_defaults(run=laptop_list)

    verb = verbs.add_parser("rotate", help="remove the snapshots that the policy no longer keeps")
    verb.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    verb.set_defaults(run=rotate)

    catalogs = verbs.add_parser("catalog", help="what is where").add_subparsers(required=True, metavar="verb")
    verb = catalogs.add_parser("rebuild", help="make the catalog anew from the disk")
    verb.set_defaults(run=catalog_rebuild)

    verb = verbs.add_parser("check-settings", help="say whether a settings file can be read")
    verb.add_argument("part", choices=sorted(settings.PARTS))
    verb.add_argument("file", type=Path)
    verb.set_defaults(run=check_settings)
    return top


def main() -> int:
    """Run the verb that the command line names; exit 0 when it was done, 1 with one line when it was not."""
    arguments = parser().parse_args()
    try:
        if os.geteuid() != 0:
            raise Refusal("only root may do this: put sudo in front")
        arguments.run(arguments)
    except BrokenPipeError:
        return 1  # the reader, say `head`, has seen enough
    except (Refusal, OSError, sqlite3.Error) as error:
        print(f"xs: {error}", file=sys.stderr)
        return 1
    return 0


def _tree(name: str) -> str:
    tree = registry.tree_of(name) or (name if registry.uid_of(name) is not None else None)
    if tree is None:
        raise Refusal(f"no laptop is registered as {name}: see `xs laptop list`")
    return tree


def _ask(part: str, request: local_socket.Message) -> local_socket.Message:
    try:
        answer = local_socket.ask(paths.SOCKETS / part, request, timeout=10)
    except OSError as error:
        raise Refusal(f"no answer at {paths.SOCKETS / part}: {error}: see `systemctl status 'xs-*'`") from error
    if not answer.get("ok"):
        raise Refusal(str(answer.get("error")))
    return answer


def _latest(tree: str) -> str | None:
    try:
        return os.readlink(paths.USERS / tree / "datastore-latest").rpartition("/")[2]
    except OSError:
        return None


def _printable(text: str) -> str:
    # A nick is a laptop's choice: escape sequences in it would run in the technician's terminal.
    return "".join(letter if letter.isprintable() else "?" for letter in text)
