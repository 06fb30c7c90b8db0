# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person says about laptops: same child, another child, in store, gone (docs/laptops.md).

The `xs` command, the Ansible modules and later the teacher's page call these. Each decides on the accounts as they are
(pure), writes, and derives; with `check` it only says what it would do. Said twice, it changes nothing the second time,
but for handing on: that makes another child each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from schoolserver import audit, erasure, house, policy, sessions, stamps
from schoolserver.accounts import HANDED_ON, JOINED, Account, Approval, Known
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from schoolserver.house import House, Step
from schoolserver.learners import Learners
from schoolserver.paths import CATALOG


@dataclass(frozen=True)
class Change:
    """What an act leads to, in the order of writing."""

    steps: tuple[Step, ...]
    said: str  # one line for a person
    erased: bool = False  # the trees are deleted as well
    told: Mapping[str, str] = field(default_factory=dict)  # by tree: what the audit trail says of it, where not `said`

    @property
    def changed(self) -> bool:
        """Whether anything is written."""
        return self.erased or any(before != after for before, after in self.steps)


@dataclass(frozen=True)
class Act:
    """Who acts, and when."""

    who: Who
    now: datetime

    def approval(self, did: str, tree: str) -> Approval:
        """Return the line for an account.json."""
        return Approval(did, tree, stamps.written(self.now), str(self.who))


def approve(where: House, name: str, learner: str | None, who: Who, *, check: bool = False) -> Change:
    """Join the laptop `name` (serial or tree) to the child of `learner`; raise Refusal or OSError.

    Without `learner`: the new key of a known serial is the same child's.
    """
    act = Act(who, datetime.now(UTC))
    return carry_out(where, act, lambda known: decide_approval(known, name, learner, act), check)


def separate(where: House, name: str, who: Who, *, check: bool = False) -> Change:
    """Take back an approval: everything is as it was before it; raise Refusal or OSError."""
    return carry_out(where, Act(who, datetime.now(UTC)), lambda known: decide_separation(known, name), check)


def retire(where: House, name: str, who: Who, *, check: bool = False) -> Change:
    """Put the laptop `name` in store: its keys open nothing, its documents stay the child's; raise Refusal, OSError."""
    act = Act(who, datetime.now(UTC))
    return carry_out(where, act, lambda known: decide_retirement(known, name, act), check)


def restore_to_use(where: House, name: str, who: Who, *, check: bool = False) -> Change:
    """Take the laptop `name` out of store again, for the same child; raise Refusal or OSError."""
    return carry_out(where, Act(who, datetime.now(UTC)), lambda known: decide_use(known, name), check)


def hand_on(where: House, name: str, who: Who, *, check: bool = False) -> Change:
    """Give the laptop `name` to another child: from now on it writes a new tree; raise Refusal or OSError."""
    act = Act(who, datetime.now(UTC))
    return carry_out(where, act, lambda known: decide_handing_on(known, name, act), check)


def remove(
    where: House, name: str, who: Who, *, documents: bool = False, check: bool = False, catalog_file: Path = CATALOG
) -> Change:
    """Forget the laptop `name`: its names and keys go, its documents stay; raise Refusal or OSError.

    With `documents` these go as well, for ever, and the answer says how many they were.
    """
    act = Act(who, datetime.now(UTC))
    if not documents:
        return carry_out(where, act, lambda known: decide_removal(known, name), check)

    def decide(known: Known) -> Change:
        change = decide_removal(known, name)
        going = [after.tree for _, after in change.steps]
        _check_nobody_stands_on(known, going)
        number = erasure.count(where.users, going)
        return replace(change, said=f"{', '.join(going)}: the laptop and {number} documents are deleted for ever")

    def erase(change: Change) -> None:
        for _, after in reversed(change.steps):  # the laptop's first tree last: said again, it finds the others
            erasure.erase(where.users, after.tree, catalog_file)
        house.write_derived(where, house.read(where).accounts.values())

    return replace(carry_out(where, act, decide, check, erase), erased=True)


def decide_approval(known: Known, name: str, learner: str | None, act: Act) -> Change:
    """Return what joining `name` to `learner` leads to; raise Refusal."""
    learners = Learners(known.accounts)
    account = _newcomer(known, name, learners) if learner is None else _account(known, name)
    target = _first(known, account, learners) if learner is None else _child(known, learner, learners)
    root = learners.learner_of(target.tree)
    if learners.is_retired(target) and target.uid == account.uid:
        raise Refusal(f"{target.tree} is in store, and its keys open nothing: xs laptop retire {target.serial} --undo")
    if learners.learner_of(account.tree) == root:
        return Change(((account, account),), f"{account.tree} is the same child as {root} already")
    # The line leads to the other learner's end, so that what was joined to this laptop comes along, and goes back too.
    approvals = (*_but(JOINED, account.approvals), act.approval(JOINED, root))
    joined = replace(account, learner=root, approvals=approvals)
    return Change(((account, joined),), f"{account.tree} is the same child as {root}")


def decide_separation(known: Known, name: str) -> Change:
    """Return what taking the approval of `name` back leads to; raise Refusal."""
    account = _joined(known, name)
    if account is None:
        account = _account(known, name)
        return Change(((account, account),), f"{account.tree} is joined to nobody")
    alone = replace(account, learner=account.tree, approvals=_but(JOINED, account.approvals))
    return Change(((account, alone),), f"{account.tree} is apart from {account.learner} again")


def decide_retirement(known: Known, name: str, act: Act) -> Change:
    """Return what putting `name` in store leads to; raise Refusal."""
    account = _laptop(known, name)
    retired = account if account.retired else replace(account, retired=stamps.written(act.now))
    return Change(((account, retired),), f"{account.tree} is in store; its documents stay where they are")


def decide_use(known: Known, name: str) -> Change:
    """Return what taking `name` out of store leads to; raise Refusal."""
    account = _laptop(known, name)
    return Change(((account, replace(account, retired="")),), f"{account.tree} is in use")


def decide_handing_on(known: Known, name: str, act: Act) -> Change:
    """Return what giving `name` to another child leads to; raise Refusal.

    The new account is the commit: what it claims is no longer the old one's, even if that could not be written any more
    (house.consistent).
    """
    account = _laptop(known, name)
    laptop = _same_laptop(known, account)
    _check_nobody_waits(known, laptop)
    taken = known.accounts.keys() | known.damaged.keys()
    tree = policy.free_tree(taken, account.serial, further=True)
    new = Account(
        tree=tree,
        learner=tree,
        names=account.names,
        uid=policy.next_uid(known),
        keys=tuple(key for one in laptop for key in one.keys),
        nick="",
        uuid=account.uuid,
        registered=stamps.written(act.now),
        approvals=(act.approval(HANDED_ON, account.tree),),
    )
    steps: list[Step] = [(None, new)]
    steps += [(one, replace(one, names=(), keys=(), retired="")) for one in laptop]
    return Change(tuple(steps), f"{account.tree} keeps its documents; the laptop writes {tree} from now on")


def decide_removal(known: Known, name: str) -> Change:
    """Return what forgetting the laptop `name` leads to; raise Refusal."""
    account = _account(known, name)
    whole = account.names or account.tree == account.serial  # a first tree stands for its laptop also without a name
    laptop = _same_laptop(known, account) if whole else [account]
    if whole:
        _check_nobody_waits(known, laptop)
    gone = tuple((one, replace(one, names=(), keys=(), retired="")) for one in laptop)
    return Change(gone, f"{account.tree} is no laptop any more; its documents stay")


def carry_out(
    where: House,
    act: Act,
    decide: Callable[[Known], Change],
    check: bool,
    finish: Callable[[Change], None] | None = None,
) -> Change:
    """Do what `decide` makes of the accounts as they are, or with `check` only return it; raise Refusal or OSError.

    `finish` is called at the end, while nobody else can change anything.
    """
    if check:
        return decide(house.read(where))
    with house.alone(where):
        known = house.read(where)
        change = decide(known)
        steps = [(before, after) for before, after in change.steps if before != after]
        when = stamps.written(act.now)
        told = {after.tree: change.told.get(after.tree, change.said) for _, after in steps}
        entries = [audit.Entry(when, act.who.name, act.who.place, tree, what) for tree, what in told.items()]
        audit.record(where.audit, entries, house.readers())
        failed = house.save(where, steps)
        known = house.read(where) if failed else known.plus(*(after for _, after in steps))
        # Also where nothing changed: said again after a crash, it leaves nothing half done.
        house.write_derived(where, known.accounts.values())
        if failed:
            raise next(iter(failed.values()))
        if where.users == House.users:  # only this machine's own accounts have sessions on it
            sessions.end({before.uid for before, after in steps if before and _loses(before, after)})
        if finish:
            finish(change)
        return change


def _loses(before: Account, after: Account) -> bool:
    """Say whether a session of the account may do less after this, or something else."""
    lines = [(one.learner, one.names, one.keys, one.retired) for one in (before, after)]
    return lines[0] != lines[1]


def _account(known: Known, name: str) -> Account:
    """Return the account of the login name or tree `name`; raise Refusal.

    A serial is the laptop's present account. Its first tree, where that is another's since, is <serial>.1.
    """
    account = known.accounts.get(name.removesuffix(".1"))
    if "." not in name:
        account = Learners(known.accounts).holder(name) or account
    if account is None:
        why = f" (its account is damaged: {known.damaged[name]})" if name in known.damaged else ""
        raise Refusal(f"no laptop is registered as {name[:40]!a}{why}: see `xs laptop list`")
    return account


def _child(known: Known, name: str, learners: Learners) -> Account:
    """Return an account of the child that `name` stands for; raise Refusal where it could be two."""
    account, first = _account(known, name), known.accounts.get(name)
    if first is not None and learners.learner_of(first.tree) != learners.learner_of(account.tree):
        raise Refusal(
            f"{name} could be two children: say {name}.1 for the one who had it first ({first.nick}), or "
            f"{account.tree} for the one who has it now ({account.nick})"
        )
    return account


def _first(known: Known, account: Account, learners: Learners) -> Account:
    """Return the account to which a known serial's new key is joined when nobody says to whom; raise Refusal."""
    first = known.accounts.get(account.serial) or learners.holder(account.serial)
    if first is None or first.tree == account.tree:
        raise Refusal(f"whose is {account.tree}? Say so: xs laptop approve {account.tree} --as SERIAL")
    return first


def _laptop(known: Known, name: str) -> Account:
    """Return the account that holds the login name of the laptop `name`; raise Refusal."""
    account = _account(known, name)
    if not account.names:
        raise Refusal(f"{account.tree} is no laptop of its own: name the laptop by its serial")
    return account


def _same_laptop(known: Known, account: Account) -> list[Account]:
    """Return the accounts of the laptop of `account`: it, and what its child's other keys on it made.

    The one with the login names comes first: once they are gone, nobody gets in, whatever happens then.
    """
    learners = Learners(known.accounts)
    learner = learners.learner_of(account.tree)
    same = [
        one
        for one in known.accounts.values()
        if one.uid == account.uid and learners.learner_of(one.tree) == learner and one.tree != account.tree
    ]
    return [account, *same]


def _check_nobody_waits(known: Known, laptop: Sequence[Account]) -> None:
    """Raise Refusal where somebody else came with the serial of `laptop`, and would lose the login name with it."""
    trees = {account.tree for account in laptop}
    others = [one.tree for one in known.accounts.values() if one.uid == laptop[0].uid and one.tree not in trees]
    waiting = next((tree for tree in others if known.accounts[tree].keys), None)
    if waiting:
        raise Refusal(
            f"{waiting} has come with a new key of this laptop: first approve it, if it is the same child, or remove it"
        )


def _newcomer(known: Known, name: str, learners: Learners) -> Account:
    """Return the account that waits to be called the same child as the serial `name`; raise Refusal if unclear.

    When none waits any more, the one that was joined is meant: said twice it is no error.
    """
    if "." in name:
        return _account(known, name)
    further = [one for one in known.accounts.values() if one.serial == name and one.tree != name]
    waiting = [one for one in further if learners.is_waiting(one)]
    if len(waiting) > 1:
        names = " or ".join(one.tree for one in waiting)
        raise Refusal(f"{name} has come with {len(waiting)} new keys: say which is the same child, {names}")
    joined = [one for one in further if one.learner != one.tree]
    return (waiting or joined or [_account(known, name)])[0]


def _joined(known: Known, name: str) -> Account | None:
    """Return the account that `name` stands for and that is joined to another, or None; raise Refusal if unclear."""
    account = _account(known, name)
    if account.learner != account.tree:
        return account
    if "." in name:
        return None
    joined = [one for one in known.accounts.values() if one.serial == name and one.learner != one.tree]
    if len(joined) > 1:
        names = " or ".join(one.tree for one in joined)
        raise Refusal(f"{len(joined)} trees of {name} are joined: say which, {names}")
    return joined[0] if joined else None


def _check_nobody_stands_on(known: Known, trees: Sequence[str]) -> None:
    """Raise Refusal where another laptop was joined to one of `trees`: its child would lose the old documents."""
    # Each line counts, also one to a tree in the middle: it would lead nowhere.
    others = [one.tree for one in known.accounts.values() if one.learner in trees and one.tree not in trees]
    if others:
        raise Refusal(f"{others[0]} was joined to it and would lose its old documents: separate it first")


def _but(did: str, approvals: tuple[Approval, ...]) -> tuple[Approval, ...]:
    return tuple(approval for approval in approvals if approval.did != did)
