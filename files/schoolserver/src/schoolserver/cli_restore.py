# SPDX-License-Identifier: GPL-3.0-or-later
"""`xs restore`: a technician finds and brings back what a learner had."""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from schoolserver import bundle, datastore, entries, house, paths, restore, snapshot
from schoolserver.cli_laptop import print_table
from schoolserver.errors import Refusal
from schoolserver.house import House
from schoolserver.learners import Learners
from schoolserver.restore import Copy

_SHOWN = 100  # documents between two lines of progress where there is no terminal


def add_verb(verb: argparse.ArgumentParser) -> None:
    """Add the words of `xs restore` to `verb`."""
    verb.add_argument("learner", help="a laptop of the child: its serial, or a tree such as SHC12345678.2")
    what = verb.add_mutually_exclusive_group()
    what.add_argument("--document", metavar="UID", help="one document, by the uid that the list shows")
    what.add_argument("--everything", action="store_true", help="all documents")
    verb.add_argument("--when", default=restore.BEST, help="best (the default), latest, a day, or a snapshot's name")
    verb.add_argument("--deleted", action="store_true", help="also what left the Journal")
    where = verb.add_mutually_exclusive_group()
    where.add_argument("--to", type=Path, metavar="PATH", help="a new directory, or for one document a new .xoj file")
    where.add_argument("--to-incoming", action="store_true", help="for the laptop's own next restore")
    verb.add_argument("--json", action="store_true", help="the list for programs")
    verb.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """List what there is, or bring it back."""
    trees = trees_of(arguments.learner)
    if arguments.document:
        copies = _of_document(trees, arguments.document, arguments.when)
    else:
        copies = restore.everything(paths.USERS, trees, arguments.when, gone=arguments.deleted)
    if not (arguments.to or arguments.to_incoming):
        _list(copies, arguments.json)
        return
    if not (arguments.document or arguments.everything):
        raise Refusal("say what to bring back: --document UID, or --everything")
    if not copies:
        raise Refusal(f"there is nothing of {arguments.learner} as of {arguments.when}")
    if arguments.to_incoming:
        _to_incoming(trees[0], copies)
    elif arguments.to.suffix == ".xoj":
        _to_bundle(copies, arguments.to)
    else:
        _told(restore.to_directory(paths.USERS, copies, arguments.to.absolute(), _progress), copies, str(arguments.to))


def trees_of(name: str, where: House | None = None) -> list[str]:
    """Return the trees of the learner of the laptop `name`, the one that it writes first; raise Refusal."""
    known = house.read(where or House())
    learners = Learners(known.accounts)
    account = learners.holder(name) or known.accounts.get(name)
    if account is None:
        raise Refusal(f"no laptop is registered as {name[:40]!a}: see `xs laptop list`")
    own = learners.written_by(account)
    return [own, *(tree for tree in learners.trees_of(account.tree) if tree != own)]


def _of_document(trees: list[str], uid: str, when: str) -> list[Copy]:
    if not datastore.is_uid(uid):
        raise Refusal(f"{uid[:40]!a} is no document's uid: `xs restore` without --document lists them")
    copies = restore.copies_of(paths.USERS, trees, uid)
    if when not in (restore.BEST, restore.LATEST):
        restore.check_when(when)
        copies = [copy for copy in copies if copy.stamp <= f"{when}~"]
    if not copies:
        raise Refusal(f"the server has no copy of {uid} as of {when}")
    return copies[:1]


def _list(copies: list[Copy], as_json: bool) -> None:
    rows = []
    for copy in copies:
        try:
            with copy.opened(paths.USERS) as entry:
                said = entries.describe(entry)
        except OSError as error:
            said = entries.Document("", "", "", 0, 0, False, str(error))
        rows.append((copy, said))
    if as_json:
        listed = [
            {
                "uid": copy.uid, "tree": copy.tree, "stamp": copy.stamp, "left_the_journal": copy.keepsake,
                "title": said.title, "mime_type": said.mime_type, "bytes": said.size, "damaged": said.damaged,
            }
            for copy, said in rows
        ]  # fmt: skip
        print(json.dumps({"documents": listed}, indent=1, ensure_ascii=False))
        return
    table = [("UID", "AS OF", "BYTES", "TITLE")]
    table += [
        (copy.uid, copy.stamp, str(said.size), f"{said.title}{' (left the Journal)' if copy.keepsake else ''}")
        for copy, said in rows
    ]
    print_table(table)
    print(f"{len(copies)} documents")


def _to_bundle(copies: list[Copy], target: Path) -> None:
    if len(copies) != 1:
        raise Refusal("a .xoj holds one document: say which, --document UID")
    if target.exists():
        raise Refusal(f"{target} is there already: name a new file")
    made = bundle.prepare(copies[0].uid, lambda: copies[0].opened(paths.USERS))
    new = target.with_name(f".{target.name}.new")
    with new.open("wb") as file:
        for piece in made.pieces():
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    new.rename(target)
    print(f"{target}: one document, as of {copies[0].stamp}")


def _to_incoming(tree: str, copies: list[Copy]) -> None:
    at = paths.USERS / tree
    with snapshot.held(at) as state:
        failed = restore.to_incoming(paths.USERS, tree, copies, _progress)
        snapshot.mark(state)
    stamp = snapshot.take(at, datetime.now(UTC))
    _told(failed, copies, f"datastore-latest of {tree}{f', {stamp}' if stamp else ', once its snapshot is taken'}")


def _told(failed: list[tuple[Copy, str]], copies: list[Copy], where: str) -> None:
    print(f"{where}: {len(copies) - len(failed)} documents")
    for copy, why in failed:
        print(f"xs: {copy.uid} of {copy.tree} {copy.stamp} cannot be read: {why}", file=sys.stderr)
    if failed:
        raise Refusal(f"{len(failed)} documents could not be brought back")


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total} documents", end="\n" if done == total else "", file=sys.stderr, flush=True)
    elif done % _SHOWN == 0:
        print(f"{done} of {total} documents", file=sys.stderr, flush=True)
