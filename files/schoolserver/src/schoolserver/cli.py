# SPDX-License-Identifier: GPL-3.0-or-later
"""The `xs` command: what a person types on the server. Each verb calls the function that the services call."""

from __future__ import annotations

import argparse
import io
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import NoReturn

from schoolserver import (
    __version__,
    catalog,
    catalog_rebuild,
    cli_keepsake,
    cli_laptop,
    cli_repository,
    cli_restore,
    cli_rotate,
    cli_snapshot,
    cli_status,
    cli_verify,
    local_socket,
    paths,
    registry,
    search,
    settings,
)
from schoolserver.errors import Refusal

FOUND = 200  # documents that `xs find` prints at most


def page(arguments: argparse.Namespace) -> None:
    """Print a link that opens one laptop's Journal page, once."""
    tree = _tree(arguments.serial)
    answer = _ask("ticket", {"tree": tree})
    print(answer["url"])


def find(arguments: argparse.Namespace) -> None:
    """Print the documents of one learner, or of the whole school, that have all the words."""
    asked = [arguments.laptop, *arguments.words] if arguments.everywhere else arguments.words
    if not asked:
        raise Refusal("give words to look for behind the laptop, or --everywhere and words")
    words, whose = " ".join(asked), "anybody" if arguments.everywhere else arguments.laptop
    with closing(catalog.reading(paths.CATALOG)) as database:
        trees = None if arguments.everywhere else cli_restore.trees_of(arguments.laptop)
        found = search.search(database, trees, words, FOUND)
        if waiting := catalog.waiting(database, trees):
            print(f"not all is listed yet, see `journalctl -u xs-catalog`: {', '.join(waiting)}", file=sys.stderr)
    if not found:
        raise Refusal(f"no document of {whose} has {words!r} in its title, tags or activity")
    for one in found:
        print(f"{one.uid}  {one.tree}  {one.first}  {one.said.title}{'  (deleted)' if one.gone else ''}")


def catalog_rebuild_all(_: argparse.Namespace) -> None:
    """Make the catalog anew from the disk, and say how far it is."""

    def say(done: int, of: int, tree: str) -> None:
        if sys.stdout.isatty():  # one line that counts
            print(f"\r{done} of {of} trees", end="" if done < of else "\n", flush=True)
        else:
            print(f"{done} of {of} trees: {tree}", flush=True)

    failed = catalog_rebuild.rebuild(paths.CATALOG, paths.USERS, say)
    if failed:
        raise Refusal("; ".join(failed))
    print(f"{paths.CATALOG} is rebuilt")


def check_settings(arguments: argparse.Namespace) -> None:
    """Say whether a settings file can be read; the roles ask this before they put one in place."""
    settings.parse(arguments.part, arguments.file.read_text(encoding="utf-8"), str(arguments.file))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit 1 as for every error: argparse's 2 means in `xs status` that something needs a person."""
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    """Return the grammar of the command line."""
    top = _Parser(prog="xs", description="The school server's own command.")
    top.add_argument("--version", action="version", version=f"xs {__version__}")
    verbs = top.add_subparsers(required=True, metavar="verb")

    verb = verbs.add_parser("page", help="print a link that opens a laptop's Journal page, once")
    verb.add_argument("serial", help="the laptop's serial, or a tree such as SHC12345678.2")
    verb.set_defaults(run=page)

    cli_laptop.add_verbs(verbs.add_parser("laptop", help="who is registered, and whose laptop is whose"))

    cli_status.add_words(verbs.add_parser("status", help="what there is to know of this school server, in one look"))
    cli_restore.add_verb(verbs.add_parser("restore", help="list what a child had, and bring it back"))

    cli_snapshot.add_verbs(verbs.add_parser("snapshot", help="which snapshots there are; taken now, kept, let go"))

    cli_keepsake.add_verbs(verbs.add_parser("keepsake", help="what is kept of documents that left the Journal"))

    cli_rotate.add_words(verbs.add_parser("rotate", help="remove the snapshots that the policy no longer keeps"))

    cli_verify.add_words(verbs.add_parser("verify", help="read again what the snapshots hold: has the disk lost any?"))

    catalogs = verbs.add_parser("catalog", help="what is where").add_subparsers(required=True, metavar="verb")
    verb = catalogs.add_parser("rebuild", help="make the catalog anew from the disk")
    verb.set_defaults(run=catalog_rebuild_all)

    verb = verbs.add_parser("find", help="find a child's documents by words of their title, tags or activity")
    verb.add_argument("laptop", help="a laptop of the child, or a tree such as SHC12345678.2")
    verb.add_argument("words", nargs="*")
    verb.add_argument("--everywhere", action="store_true", help="of the whole school, where nobody knows whose it was")
    verb.set_defaults(run=find)

    cli_repository.add_verbs(verbs.add_parser("repository", help="what laptops install from this server"))

    verb = verbs.add_parser("check-settings", help="say whether a settings file can be read")
    verb.add_argument("part", choices=sorted(settings.PARTS))
    verb.add_argument("file", type=Path)
    verb.set_defaults(run=check_settings)
    return top


def main() -> int:
    """Run the verb that the command line names; exit 0 when it was done, 1 with one line when it was not.

    `xs status` has an exit code of its own beside these.
    """
    arguments = parser().parse_args()
    # A terminal without UTF-8 shows a Nepali nick as question marks; that is no reason to show nothing.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        if os.geteuid() != 0:
            raise Refusal("only root may do this: put sudo in front")
        code = arguments.run(arguments) or 0
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, say `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
        return 1
    except (Refusal, OSError, UnicodeError, sqlite3.Error) as error:
        print(f"xs: {error}", file=sys.stderr)
        return 1
    return int(code)


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
