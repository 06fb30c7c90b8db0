# SPDX-License-Identifier: GPL-3.0-or-later
"""A school's list of laptops, from an inventory or a spreadsheet: what of it is not so yet.

Pure but for one look at the machine's own login names. Whoever is on the list is registered with the same checks and
the same words as a laptop that registers itself.
"""

from __future__ import annotations

import csv
import functools
import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from schoolserver import acts, house, identity, policy
from schoolserver.accounts import Account, Known
from schoolserver.acts import Act, Change
from schoolserver.errors import Refusal
from schoolserver.house import Step
from schoolserver.learners import Learners
from schoolserver.policy import Rules

PRESENT, ABSENT, RETIRED = "present", "absent", "retired"
COLUMNS = ("serial", "nick", "uuid", "pubkey", "class", "joins", "state")
_ROUNDS = 10  # one, and another that changes nothing; a third and fourth where lines undo each other


@dataclass(frozen=True)
class Entry:
    """One line of the list. None: it says nothing of this."""

    serial: str
    nick: str | None = None
    uuid: str | None = None
    pubkey: str | None = None
    class_name: str | None = None
    joins: str | None = None  # the laptop of the same child, itself after a reflash; "" for nobody's
    state: str = PRESENT


@dataclass(frozen=True)
class Wanted:
    """What a list leads to."""

    change: Change
    waiting: tuple[str, ...]  # serials that have not registered yet, or whose child's other laptop has not
    accounts: tuple[tuple[str, Account], ...]  # of each line that has one: login name, and the account as it will stand


def from_mapping(line: Mapping[str, Any]) -> Entry:
    """Return the entry that a line of an inventory or a spreadsheet stands for; raise Refusal."""
    unknown = [str(name) for name in line if name not in COLUMNS]
    if unknown:
        raise Refusal(f"unknown column {unknown[0]!a}; known are {', '.join(COLUMNS)}")
    texts = {name: None if line.get(name) is None else str(line[name]).strip() for name in COLUMNS}
    if not texts["serial"]:
        raise Refusal("a line has no serial")
    state = texts["state"] or PRESENT
    if state not in (PRESENT, ABSENT, RETIRED):
        raise Refusal(f"state must be {PRESENT}, {ABSENT} or {RETIRED}, not {state[:20]!a}")
    return Entry(
        texts["serial"], texts["nick"], texts["uuid"] or None, texts["pubkey"] or None, texts["class"], texts["joins"],
        state,
    )  # fmt: skip


def parse_csv(text: str) -> list[Mapping[str, Any]]:
    """Return the lines of a spreadsheet saved as CSV, with comma or semicolon, its first line naming the columns.

    An empty cell says nothing, nor does a line of them. Raise Refusal when there is no such first line, or a quote that
    does not end: it would swallow all the lines below it.
    """
    text = text.removeprefix("\ufeff")  # spreadsheets put it there
    first = text.partition("\n")[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns, lines = table.fieldnames or [], list(table)
    except csv.Error as error:
        raise Refusal(f"the list is damaged at its line {table.reader.line_num}: {error}") from error
    if "serial" not in columns:
        raise Refusal(f"the list has no column serial; its first line must name columns out of {', '.join(COLUMNS)}")
    if any(None in line for line in lines):
        raise Refusal("a line of the list has more cells than the first line has columns")
    said = [{name: cell for name, cell in line.items() if cell and cell.strip()} for line in lines]
    return [line for line in said if line]


def decide(known: Known, entries: Sequence[Entry], rules: Rules, act: Act) -> Wanted:
    """Return what the list leads to, in one go; raise Refusal that names each line that cannot be.

    A line can move a laptop that one above it was joined to. So the list is gone through until it changes nothing any
    more: that is what the next run must find.
    """
    twice = [serial for serial, times in Counter(entry.serial for entry in entries).items() if times > 1]
    if twice:
        raise Refusal("; ".join(f"{serial[:40]}: it is on the list more than once: leave one line" for serial in twice))
    keys = Counter(entry.pubkey for entry in entries if entry.pubkey)
    same = [entry.serial[:40] for entry in entries if entry.pubkey and keys[entry.pubkey] > 1]
    if same:  # a slip of a copying hand; two children would share an account
        raise Refusal(f"{' and '.join(same)}: they have the same key on the list: each laptop has its own")
    steps: list[Step] = []
    for _ in range(_ROUNDS):
        done, accounts = _decide_all(known, entries, rules, act)
        known = functools.reduce(Known.plus, (after for _, after in done), known)
        steps += done
        if all(before == after for before, after in done):
            break
    else:
        raise Refusal("the lines of the list contradict each other")
    change = Change(_merged(steps), "on the school's list")
    learners = Learners(known.accounts)
    logins = [(learners.login_of(account), account) for account in accounts.values() if account]
    waiting = [entry.serial for entry in entries if entry.state != ABSENT and accounts[entry.serial] is None]
    return Wanted(change, tuple(waiting), tuple(logins))


def _decide_all(
    known: Known, entries: Sequence[Entry], rules: Rules, act: Act
) -> tuple[list[Step], dict[str, Account | None]]:
    """Return what all lines lead to, one after the other, and the account of each; raise Refusal."""
    steps: list[Step] = []
    accounts: dict[str, Account | None] = {}
    problems: list[str] = []
    listed = {entry.serial for entry in entries}
    for entry in entries:
        try:
            done, accounts[entry.serial] = _decide_entry(known, entry, listed, rules, act)
        except Refusal as refusal:
            problems.append(f"{entry.serial[:40]}: {refusal}")
            continue
        known = functools.reduce(Known.plus, (after for _, after in done), known)
        steps += done
    if problems:
        raise Refusal("; ".join(problems))
    return steps, accounts


def _decide_entry(
    known: Known, entry: Entry, listed: Collection[str], rules: Rules, act: Act
) -> tuple[list[Step], Account | None]:
    """Return what one line leads to, and the account as it then stands, None when there is none (yet)."""
    steps: list[Step] = []

    def do(done: Sequence[Step]) -> Account:
        nonlocal known
        for _, after in done:
            known = known.plus(after)
        steps.extend(done)
        return done[0][1]

    if entry.serial not in known.accounts:  # a tree, such as SHC12345678.2, can be named once it is there
        identity.check_serial(entry.serial)
    account = Learners(known.accounts).holder(entry.serial)
    if "." in entry.serial:
        account = known.accounts[entry.serial]
    if entry.state == ABSENT:
        return (steps, None) if account is None else (list(acts.decide_removal(known, entry.serial).steps), None)
    if account and entry.state == PRESENT and account.retired:
        account = do(acts.decide_use(known, account.tree).steps)
    if entry.pubkey:
        account = do([_register(known, entry, rules, act)])
    if account is None:
        return steps, None
    wanted = replace(
        account,
        nick=account.nick if entry.nick is None else identity.check_nick(entry.nick),
        class_name=account.class_name if entry.class_name is None else identity.check_class(entry.class_name),
    )
    do([(account, wanted)])
    if entry.joins == entry.serial:  # reflashed: the new key of this serial is the same child's
        do(acts.decide_approval(known, entry.serial, None, act).steps)
    elif entry.joins and entry.joins in listed and Learners(known.accounts).holder(entry.joins) is None:
        return steps, None  # that one has not registered yet
    elif entry.joins:
        do(acts.decide_approval(known, account.tree, entry.joins, act).steps)
    elif entry.joins is not None:
        do(acts.decide_separation(known, entry.serial).steps)
    if entry.state == RETIRED:
        do(acts.decide_retirement(known, entry.serial, act).steps)
    return steps, known.accounts[account.tree]


def _register(known: Known, entry: Entry, rules: Rules, act: Act) -> Step:
    if entry.uuid is None:
        raise Refusal("a key on the list needs its laptop's uuid beside it")
    key = identity.parse_key(entry.pubkey or "")
    mine = policy.holder_of_key(known, key)
    if mine and entry.state == RETIRED and Learners(known.accounts).is_retired(mine):
        return mine, mine  # as the list wants it; policy would send a laptop in store to a person
    nick = (mine.nick if mine else "") if entry.nick is None else entry.nick
    message = {"serial": entry.serial, "nick": nick, "uuid": entry.uuid, "pubkey": entry.pubkey}
    plan = policy.decide(known, policy.check(message), act.now, rules)
    house.check_name_is_free(entry.serial)
    return known.accounts.get(plan.account.tree), plan.account


def _merged(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return one step for each tree: from how it stands to how it will."""
    merged: dict[str, Step] = {}
    for before, after in steps:
        merged[after.tree] = (merged[after.tree][0] if after.tree in merged else before, after)
    return tuple(merged.values())
