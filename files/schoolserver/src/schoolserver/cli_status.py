# SPDX-License-Identifier: GPL-3.0-or-later
"""`xs status`: looks at everything there is to know of the school server, and prints it (status.py decides)."""

from __future__ import annotations

import argparse
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from schoolserver import (
    allowance,
    catalog,
    datastore,
    decay,
    disk_use,
    gate,
    house,
    image_room,
    keepsakes,
    paths,
    pins,
    registry,
    settings,
    status,
    unreadable,
)
from schoolserver.cli_laptop import print_table
from schoolserver.errors import Refusal
from schoolserver.house import House
from schoolserver.pins import Pins
from schoolserver.registry import Row
from schoolserver.status import DamagedDocument, Disk, Holder, Incomplete, Laptop, Line, Rotation, Status, Unreadable

NEEDS_A_PERSON = 2  # the exit code
_HOLDERS = 10  # learners that are named when the disk is full
_EXIT_CODES = "exit codes: 0 all is well; 1 the command itself could not do it; 2 something needs a person"


def look(where: House, now: datetime) -> Status:
    """Return the status of the school server at `where` at the UTC time `now`; raise OSError or Refusal."""
    trees, known = datastore.trees(where.users), house.read(where)
    rows = [row for row, _ in registry.rows_of(known.accounts)]
    laptops, late_days = _laptops(where, rows), settings.load("snapshots").late_days
    pinned, damaged = _pins(trees)
    passes = decay.read(where.state / decay.FILE)
    documents, unread = _damaged_documents(where.state / paths.CATALOG.name)
    return Status(
        disk=_disk(where),
        trees=len(trees),
        laptops=len(laptops),
        last_run=max((stamp for tree in trees for stamp in datastore.snapshots(tree)[-1:]), default=None),
        late_days=late_days,
        late=status.late(laptops, now, late_days),
        incomplete=[one for tree in trees for one in _incomplete(tree, now)],
        losses=[loss for tree in trees for loss in status.losses(tree.name, pinned[tree.name])],
        damaged=[*(f"{where.users / tree}: {why}" for tree, why in sorted(known.damaged.items())), *damaged, *unread],
        unreadable=[Unreadable(tree.name, *one) for tree in trees for one in sorted(unreadable.read(tree).items())],
        damaged_documents=documents,
        rotation=_rotation(where.state / "rotation.json"),
        decayed=passes.all_decayed,
        verified=passes.ended,
        holders=_holders(where, rows, pinned),
    )


def add_words(verb: argparse.ArgumentParser) -> None:
    """Add the words of `xs status` to `verb`."""
    verb.add_argument("--json", action="store_true", help="for programs")
    verb.set_defaults(run=show)
    verb.epilog = _EXIT_CODES


def show(arguments: argparse.Namespace) -> int:
    """Print the status; return the exit code."""
    found = look(House(users=paths.USERS, state=paths.STATE), datetime.now(UTC))
    needs = status.needs_person(found)
    if arguments.json:
        print(json.dumps({**asdict(found), "needs_person": [asdict(one) for one in needs]}, indent=1))
    else:
        if needs:
            print("These need a person:")
            _print(needs)
            print("\nBesides:")
        else:
            print("Nothing needs a person.")
        _print(status.facts(found))
    return NEEDS_A_PERSON if needs else 0


def _print(lines: Sequence[Line]) -> None:
    width = max(len(one.tree) for one in lines)
    print_table([(one.about, f"{one.tree.ljust(width)}  {one.said}" if one.tree else one.said) for one in lines])


def _disk(where: House) -> Disk:
    full = settings.load("accounts").full_percent
    weeks = disk_use.weeks_left(disk_use.read(where.state / disk_use.FILE), full)
    return Disk(round(allowance.used_percent(str(where.users))), full, weeks, image_room.lacking(where.users))


def _laptops(where: House, rows: Iterable[Row]) -> list[Laptop]:
    """Return the laptops in use, each with the tree that it writes, by the account that its key came with last."""
    found = {}
    for row in sorted(rows, key=lambda row: row.registered):
        if row.state == registry.IN_USE:
            last = datastore.snapshots(where.users / row.writes)[-1:]
            found[row.writes] = Laptop(row.writes, row.nick, row.class_name, row.registered, last[0] if last else None)
    return list(found.values())


def _pins(trees: Iterable[Path]) -> tuple[dict[str, Pins], list[str]]:
    """Return {tree: its pins}, none where they cannot be read; and a line for each of those."""
    found, damaged = {}, []
    for tree in trees:
        try:
            found[tree.name] = pins.read(tree)
        except Refusal as refusal:
            found[tree.name] = {}
            damaged.append(str(refusal))
    return found, damaged


def _incomplete(tree: Path, now: datetime) -> list[Incomplete]:
    try:
        noted = (tree / ".state" / gate.INCOMPLETE).stat(follow_symlinks=False)
    except OSError:
        return []
    found = status.incomplete(tree.name, datetime.fromtimestamp(noted.st_mtime, UTC), now)
    return [found] if found else []


def _damaged_documents(file: Path) -> tuple[list[DamagedDocument], list[str]]:
    """Return what the catalog `file` lists as damaged; and a line where it cannot be read."""
    if not file.exists():
        return [], []
    try:
        with closing(catalog.reading(file)) as database:
            return [DamagedDocument(*row) for row in catalog.damaged(database)], []
    except sqlite3.Error as error:
        return [], [f"{file}: {error}: xs catalog rebuild"]


def _rotation(file: Path) -> Rotation | None:
    try:
        return status.rotation_of(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return None


def _holders(where: House, rows: Iterable[Row], pinned: Mapping[str, Pins]) -> list[Holder]:
    """Return the learners who have most of what is never freed by itself, the heaviest first."""
    trees: dict[str, list[Row]] = {}
    for row in rows:
        trees.setdefault(row.learner, []).append(row)
    # Each session counts all trees of its learner, so the largest count is the learner's.
    sizes = {learner: max(allowance.bytes_of(where.users / row.tree) for row in own) for learner, own in trees.items()}
    held = _held_by_pins(where.state / paths.CATALOG.name, pinned)
    pins_of = {learner: sum(held.get(row.tree, 0) for row in own) for learner, own in trees.items()}
    return [
        Holder(
            learner,
            next(row.nick for row in trees[learner]),
            sizes[learner],
            sum(1 for row in trees[learner] for _ in keepsakes.every(where.users / row.tree)),
            sum(len(pinned.get(row.tree, ())) for row in trees[learner]),
            pins_of[learner],
        )
        for learner in sorted(sizes, key=lambda one: (-sizes[one] - pins_of[one], one))[:_HOLDERS]
    ]


def _held_by_pins(file: Path, pinned: Mapping[str, Pins]) -> dict[str, int]:
    """Return {tree: the bytes that its pinned snapshots alone hold}; nothing where the catalog cannot be read."""
    try:
        with closing(catalog.reading(file)) as database:
            return {tree: catalog.held_by(database, tree, stamps) for tree, stamps in pinned.items() if stamps}
    except sqlite3.Error:  # _damaged_documents() tells of it
        return {}
