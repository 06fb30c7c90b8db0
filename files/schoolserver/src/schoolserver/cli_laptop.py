# SPDX-License-Identifier: GPL-3.0-or-later
"""`xs laptop …`: who is registered, and what a person says about laptops (acts.py)."""

from __future__ import annotations

import argparse
import json
import os
import pwd
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from schoolserver import acts, identity, overview
from schoolserver.acts import Change
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from schoolserver.house import House

_PARENTS = 20  # processes between this one and the login; there are five or so


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `xs laptop` to `parser`."""
    verbs = parser.add_subparsers(required=True, metavar="verb")
    _verb(verbs, "list", "list the laptops, and who was refused lately", show_list)
    verb = _verb(verbs, "show", "show all there is to know of one laptop", show_one)
    verb.add_argument("laptop", help="its serial, or a tree such as SHC12345678.2")

    def act(name: str, text: str, do: Callable[[argparse.Namespace, Who], Change]) -> argparse.ArgumentParser:
        verb = _verb(verbs, name, text, lambda arguments: _do(arguments, do))
        verb.add_argument("laptop", help="its serial, or a tree such as SHC12345678.2")
        return verb

    verb = act(
        "approve",
        "say that it is the same child: a repaired or replaced laptop",
        lambda given, who: acts.approve(House(), given.laptop, given.learner, who),
    )
    verb.add_argument("--as", dest="learner", metavar="SERIAL", help="whose child; a known serial's own when left out")
    act("separate", "take an approval back", lambda given, who: acts.separate(House(), given.laptop, who))
    act(
        "hand-on",
        "give it to another child, who starts with an empty Journal page",
        lambda given, who: acts.hand_on(House(), given.laptop, who),
    )
    verb = act("retire", "put it in store: its key opens nothing, its documents stay", _retire)
    verb.add_argument("--undo", action="store_true", help="take it out again, for the same child")
    verb = act(
        "remove",
        "forget the laptop; its documents stay",
        lambda given, who: acts.remove(House(), given.laptop, who, documents=given.documents),
    )
    verb.add_argument(
        "--delete-all-documents-for-ever", dest="documents", action="store_true", help="nothing brings them back"
    )


def show_list(arguments: argparse.Namespace) -> None:
    """Print every tree with its login names, nick and newest snapshot; then who was refused."""
    everything = overview.everything()
    if arguments.json:
        print(json.dumps(everything, indent=1))
        return
    table = [("TREE", "LOGS IN AS", "NICK", "CLASS", "STATE", "LATEST BACKUP")]
    for one in everything["laptops"]:
        names = " ".join(one["names"]) or ("" if one["state"] == "removed" else one["login"])
        table.append((one["tree"], names, one["nick"], one["class"], state(one), one["latest"] or "none yet"))
    print_table(table)
    for one in everything["damaged"]:
        print("\n" + printable(f"{one['tree']} is left out: {one['why']}"))
    if everything["refused"]:
        print("\nRefused lately:")
        print_table(
            [("SERIAL", "NICK", "FROM", "LAST", "TIMES", "WHY")]
            + [
                (one["serial"], one["nick"], one["address"], one["last"], str(one["times"]), one["why"])
                for one in everything["refused"]
            ]
        )


def state(laptop: dict[str, Any]) -> str:
    """Return in words how a laptop of the list stands."""
    if laptop["state"] == "waiting":
        return "same child?"
    if laptop["learner"] != laptop["tree"]:
        return f"{laptop['state']}, same child as {laptop['learner']}"
    return str(laptop["state"])


def show_one(arguments: argparse.Namespace) -> None:
    """Print one laptop: its trees, keys, approvals and the audit trail."""
    everything = overview.everything()["laptops"]
    mine = [one for one in everything if arguments.laptop in (one["tree"], *one["names"])]
    if not mine:
        raise Refusal(f"no laptop is registered as {arguments.laptop[:40]!a}: see `xs laptop list`")
    learners = {one["learner"] for one in mine}
    found = [
        {**one, "trail": overview.trail(one["tree"])} for one in everything if one in mine or one["learner"] in learners
    ]
    if arguments.json:
        print(json.dumps({"laptops": found}, indent=1))
        return
    for one in found:
        print(f"{one['tree']}: {state(one)}")
        lines = [
            ("nick", one["nick"]), ("class", one["class"]), ("logs in as", " ".join(one["names"]) or one["login"]),
            ("writes", one["writes"]), ("uuid", one["uuid"]), ("registered", one["registered"]),
            ("latest backup", one["latest"] or "none yet"),
            ("last seen", " ".join(word for word in (one["seen"], one["address"], one["client"]) if word) or "never"),
            *(("key", f"{key['type']} {key['fingerprint']} since {key['since']}") for key in one["keys"]),
            *(("approval", f"{by['when']} {by['did']} {by['tree']}, by {by['by']}") for by in one["approvals"]),
            *(("trail", f"{entry['when']} {entry['who']} {entry['where']}: {entry['what']}") for entry in one["trail"]),
        ]  # fmt: skip
        print("".join(f"  {name:14}{printable(text)}\n" for name, text in lines))


def printable(text: str) -> str:
    """Return `text` for a terminal: a nick is a laptop's choice, and escape sequences in it would run there."""
    return "".join(letter if letter.isprintable() or letter in identity.JOINERS else "?" for letter in text)


def who_am_i() -> Who:
    """Return who typed this command, from where: through sudo and su, and over ssh."""
    name = os.environ.get("SUDO_USER") or pwd.getpwuid(_login_uid()).pw_name
    return Who(name, _origin())


def _login_uid() -> int:
    # The kernel keeps who logged in, whatever was changed since; without an audit-aware login it says 2**32 - 1.
    try:
        uid = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
        pwd.getpwuid(uid)
    except (OSError, ValueError, KeyError, OverflowError):
        return os.getuid()
    return uid


def _origin() -> str:
    """Return the address at the other end of the ssh session that this runs in, or "console"."""
    process = os.getpid()
    for _ in range(_PARENTS):
        try:  # sudo takes the variable from its command, but not from the shell before it
            environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            status = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            break
        for variable in environment:
            if variable.startswith(b"SSH_CONNECTION="):
                return variable.decode("ascii", "replace").partition("=")[2].split(" ")[0]
        process = int(status.partition("\nPPid:")[2].split()[0])
        if process <= 1:
            break
    return "console"


def _retire(arguments: argparse.Namespace, who: Who) -> Change:
    do = acts.restore_to_use if arguments.undo else acts.retire
    return do(House(), arguments.laptop, who)


def _do(arguments: argparse.Namespace, do: Callable[[argparse.Namespace, Who], Change]) -> None:
    change = do(arguments, who_am_i())
    if arguments.json:
        print(json.dumps({"changed": change.changed, "said": change.said}))
    else:
        print(change.said if change.changed else f"{change.said}: nothing changed")


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    run: Callable[[argparse.Namespace], None],
) -> argparse.ArgumentParser:
    # No abbreviations: "--delete" must not stand for every document for ever.
    verb = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
    verb.add_argument("--json", action="store_true", help="for programs")
    verb.set_defaults(run=run)
    return verb


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print `rows`, the first of them the heads, in columns; what a laptop chose runs nothing in the terminal."""
    shown = [tuple(printable(cell) for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    for row in shown:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
