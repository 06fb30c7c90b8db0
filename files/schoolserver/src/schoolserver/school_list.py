# SPDX-License-Identifier: GPL-3.0-or-later
"""A school's list of laptops, from an inventory or a spreadsheet: what of it is not so yet.

Pure but for one look at the machine's own login names. Whoever is on the list is registered with the same checks and
the same words as a laptop that registers itself.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from schoolserver import acts, house, identity, policy
from schoolserver.accounts import Account, Known
from schoolserver.acts import Act, Change
from schoolserver.errors import Refusal
from schoolserver.groups import together
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

    Lines that can have nothing to do with each other are decided apart, so that a list of the whole school takes time
    in proportion to its length.
    """
    twice = [serial for serial, times in Counter(entry.serial for entry in entries).items() if times > 1]
    if twice:
        raise Refusal("; ".join(f"{serial[:40]}: it is on the list more than once: leave one line" for serial in twice))
    keys = Counter(entry.pubkey for entry in entries if entry.pubkey)
    same = [entry.serial[:40] for entry in entries if entry.pubkey and keys[entry.pubkey] > 1]
    if same:  # a slip of a copying hand; two children would share an account
        raise Refusal(f"{' and '.join(same)}: they have the same key on the list: each laptop has its own")
    listed = frozenset(entry.serial for entry in entries)
    groups: list[_Group] = []
    newest_uid, laptops = max(known.uids, default=None), known.laptops
    for part, lines in _apart(known, entries):
        uids = frozenset() if newest_uid is None else frozenset({newest_uid})
        group = _Group(replace(part, uids=uids, others=laptops - part.laptops), listed, rules, act)
        group.decide(lines)
        newest_uid, laptops = max(group.known.uids, default=None), group.known.laptops
        groups.append(group)
    if problems := {serial: problem for group in groups for serial, problem in group.problems.items()}:
        raise Refusal("; ".join(problems[entry.serial] for entry in entries if entry.serial in problems))
    after = known.plus(*(after for group in groups for _, after in group.steps))
    return _wanted(groups, entries, Learners(after.accounts))


def _wanted(groups: Sequence[_Group], entries: Sequence[Entry], learners: Learners) -> Wanted:
    steps = [step for group in groups for step in group.steps]
    told = {tree: "; ".join(dict.fromkeys(said)) for group in groups for tree, said in group.told.items()}
    found = {serial: account for group in groups for serial, account in group.accounts.items()}
    accounts = [account for entry in entries if (account := found[entry.serial])]
    return Wanted(
        Change(_merged(steps), "on the school's list", told=told),
        tuple(entry.serial for entry in entries if entry.state != ABSENT and found[entry.serial] is None),
        tuple((learners.login_of(account), account) for account in accounts),
    )


def _apart(known: Known, entries: Sequence[Entry]) -> list[tuple[Known, list[Entry]]]:
    """Return the lines that can have to do with each other, together with the accounts that can; in the list's order.

    That is whoever shares a serial, a uid or a key, or is or is to be the same child.
    """
    of_account = {tree: _names_of(account) for tree, account in known.accounts.items()}
    of_entry = {entry.serial: _names_in(entry) for entry in entries}
    group = together((*of_account.values(), *of_entry.values()))
    lines: dict[str, list[Entry]] = {}
    for entry in entries:
        lines.setdefault(group[of_entry[entry.serial][0]], []).append(entry)
    accounts: dict[str, dict[str, Account]] = {}
    for tree, account in known.accounts.items():
        accounts.setdefault(group[of_account[tree][0]], {})[tree] = account
    damaged: dict[str, dict[str, str]] = {}
    for tree, why in known.damaged.items():
        damaged.setdefault(group.get(_serial(tree), ""), {})[tree] = why
    return [(Known(accounts.get(one, {}), damaged.get(one, {})), its) for one, its in lines.items()]


def _names_of(account: Account) -> list[str]:
    serials = [_serial(name) for name in (account.tree, account.learner, *account.names)]
    return [*serials, f"uid {account.uid}", *(f"key {key.blob}" for key in account.keys)]


def _names_in(entry: Entry) -> list[str]:
    names = [_serial(entry.serial), *([_serial(entry.joins)] if entry.joins else [])]
    with suppress(Refusal):  # which comes when the line is decided
        names.append(f"key {identity.parse_key(entry.pubkey or '').blob}")
    return names


def _serial(tree: str) -> str:
    return f"serial {tree.partition('.')[0]}"


class _Group:
    """Lines that can have to do with each other, and what they lead to."""

    def __init__(self, known: Known, listed: Collection[str], rules: Rules, act: Act) -> None:
        self.known = known
        self.steps: list[Step] = []
        self.told: dict[str, list[str]] = {}  # by tree
        self.accounts: dict[str, Account | None] = {}  # by serial on the list; None: there is none (yet)
        self.problems: dict[str, str] = {}  # by serial on the list
        self._listed, self._rules, self._act = listed, rules, act

    def decide(self, lines: Sequence[Entry]) -> None:
        """Decide the lines one after the other.

        A line can move a laptop that one above it was joined to. So they are gone through until they change nothing
        any more: that is what the next run must find.
        """
        for _ in range(_ROUNDS):
            done = len(self.steps)
            for entry in lines:
                try:
                    self.accounts[entry.serial] = self._entry(entry)
                except Refusal as refusal:
                    self.problems[entry.serial] = f"{entry.serial[:40]}: {refusal}"
            if self.problems or all(before == after for before, after in self.steps[done:]):
                return
        for entry in lines:
            self.problems[entry.serial] = f"{entry.serial}: the lines of the list contradict each other"

    def _do(self, steps: Sequence[Step], said: str) -> Account:
        self.known = self.known.plus(*(after for _, after in steps))
        self.steps += steps
        for before, after in steps:
            if before != after:
                self.told.setdefault(after.tree, []).append(said)
        return steps[0][1]

    def _act_on(self, change: Change) -> Account:
        return self._do(change.steps, change.said)

    def _entry(self, entry: Entry) -> Account | None:
        """Do what one line leads to; return the account as it then stands, None when there is none (yet)."""
        if entry.serial not in self.known.accounts:  # a tree, such as SHC12345678.2, can be named once it is there
            identity.check_serial(entry.serial)
        account = Learners(self.known.accounts).holder(entry.serial)
        if "." in entry.serial:
            account = self.known.accounts[entry.serial]
        if entry.state == ABSENT:
            if account is not None:
                self._act_on(acts.decide_removal(self.known, entry.serial))
            return None
        if account and entry.state == PRESENT and account.retired:
            account = self._act_on(acts.decide_use(self.known, account.tree))
        if entry.pubkey:
            step, said = _register(self.known, entry, self._rules, self._act)
            account = self._do([step], said)
        if account is None:
            return None
        wanted = replace(
            account,
            nick=account.nick if entry.nick is None else identity.check_nick(entry.nick),
            class_name=account.class_name if entry.class_name is None else identity.check_class(entry.class_name),
        )
        self._do([(account, wanted)], "nick or class")
        if not self._joins(entry, account):
            return None
        if entry.state == RETIRED:
            self._act_on(acts.decide_retirement(self.known, entry.serial, self._act))
        return self.known.accounts[account.tree]

    def _joins(self, entry: Entry, account: Account) -> bool:
        """Do what a line says of whose child's it is; return False where that has to wait."""
        if entry.joins == entry.serial:  # reflashed: the new key of this serial is the same child's
            self._act_on(acts.decide_approval(self.known, entry.serial, None, self._act))
        elif entry.joins and entry.joins in self._listed and Learners(self.known.accounts).holder(entry.joins) is None:
            return False  # that one has not registered yet
        elif entry.joins:
            self._act_on(acts.decide_approval(self.known, account.tree, entry.joins, self._act))
        elif entry.joins is not None:
            self._act_on(acts.decide_separation(self.known, entry.serial))
        return True


def _register(known: Known, entry: Entry, rules: Rules, act: Act) -> tuple[Step, str]:
    if entry.uuid is None:
        raise Refusal("a key on the list needs its laptop's uuid beside it")
    key = identity.parse_key(entry.pubkey or "")
    mine = policy.holder_of_key(known, key)
    if mine and entry.state == RETIRED and Learners(known.accounts).is_retired(mine):
        return (mine, mine), ""  # as the list wants it; policy would send a laptop in store to a person
    nick = (mine.nick if mine else "") if entry.nick is None else entry.nick
    message = {"serial": entry.serial, "nick": nick, "uuid": entry.uuid, "pubkey": entry.pubkey}
    plan = policy.decide(known, policy.check(message), act.now, rules)
    house.check_name_is_free(entry.serial)
    return (known.accounts.get(plan.account.tree), plan.account), plan.what


def _merged(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return one step for each tree: from how it stands to how it will."""
    merged: dict[str, Step] = {}
    for before, after in steps:
        merged[after.tree] = (merged[after.tree][0] if after.tree in merged else before, after)
    return tuple(merged.values())
