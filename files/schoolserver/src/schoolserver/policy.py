# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registration leads to: the case table of docs/architecture.md, and who may have a new account. Pure.

The key decides, not the serial: whoever claims a classmate's serial gets a tree apart, and locks nobody out.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from schoolserver import accounts
from schoolserver.accounts import JOINED, Account, AccountKey, Approval, Known
from schoolserver.errors import Refusal
from schoolserver.identity import Key, check_nick, check_serial, check_uuid, parse_key
from schoolserver.learners import Learners
from schoolserver.local_socket import Message
from schoolserver.stamps import written

OPEN, LIST, CLOSED = "open", "list", "closed"
ASK, AUTOMATIC = "ask", "automatic"
MOST_NAMES = 20  # login names of one key: a PC invents a serial each time it registers, and so may an attacker


@dataclass(frozen=True)
class Rules:
    """What the school has decided (roles/xs_registration), and what its sshd can do."""

    newcomers: str = OPEN  # who may have a new account: OPEN, LIST (only `serials`) or CLOSED
    serials: frozenset[str] = frozenset()
    most_laptops: int = 3000
    rekey: str = ASK  # a known serial and uuid with a new key: ASK a person, or AUTOMATIC
    dsa: bool = True  # whether sshd takes DSA keys


@dataclass(frozen=True)
class Request:
    """A registration whose fields are checked."""

    serial: str
    nick: str
    uuid: str
    key: Key


@dataclass(frozen=True)
class Plan:
    """What a registration leads to."""

    account: Account  # as it will stand on disk
    login: str  # the name under which this key gets into that account's tree
    new: bool  # the tree is made
    changed: bool  # account.json is written
    what: str  # for the log and the audit trail: "new tree", "new login name", …; "" where nothing changes


def check(message: Message) -> Request:
    """Return the registration in `message` (serial, nick, uuid, pubkey), every field checked; raise Refusal."""
    serial, nick, uuid, pubkey = (message.get(field) for field in ("serial", "nick", "uuid", "pubkey"))
    if not (isinstance(serial, str) and isinstance(nick, str) and isinstance(uuid, str) and isinstance(pubkey, str)):
        raise Refusal("serial, nick, uuid and pubkey must all be given, as text")
    return Request(check_serial(serial), check_nick(nick), check_uuid(uuid), parse_key(pubkey))


def decide(known: Known, request: Request, now: datetime, rules: Rules | None = None) -> Plan:
    """Return what `request`, at the UTC time `now`, leads to under `rules`; raise Refusal that says what to do."""
    rules, learners = rules or Rules(), Learners(known.accounts)
    if request.serial in known.damaged:
        raise Refusal(f"the account of {request.serial} on the school server is damaged: ask the school's technician")
    if request.key.type == "ssh-dss" and not rules.dsa:
        # OK would be a lie: sshd would turn the key away at the first backup.
        raise Refusal(
            "this laptop's key is of the old kind, DSA, which this school server cannot take: install the school's "
            "laptop package, which makes a new one, or ask the school's technician"
        )
    mine = holder_of_key(known, request.key)
    return _known_key(mine, request, learners) if mine else _new_key(known, request, now, rules, learners)


def holder_of_key(known: Known, key: Key) -> Account | None:
    """Return the account whose key `key` is, or None."""
    return next((a for a in known.accounts.values() if any(its.blob == key.blob for its in a.keys)), None)


def free_tree(taken: Collection[str], serial: str, *, further: bool) -> str:
    """Return the name of the next tree of `serial` that is not in `taken`; with `further`, never the serial itself."""
    numbered = (f"{serial}.{number}" for number in itertools.count(2))
    names = numbered if further else itertools.chain([serial], numbered)
    return next(name for name in names if name not in taken)


def next_uid(known: Known) -> int:
    """Return a uid that owns no tree here; raise Refusal when there is none left."""
    uid = max(known.uids, default=accounts.FIRST_UID - 1) + 1
    if uid > accounts.LAST_UID:
        raise Refusal("the school server has no room for another laptop: ask the school's technician")
    return uid


def _known_key(mine: Account, request: Request, learners: Learners) -> Plan:
    if learners.is_retired(mine):
        raise Refusal(
            "this laptop was given back to the school and is not in use: ask a teacher or the school's technician"
        )
    owner = learners.holder(request.serial)
    account, what = replace(mine, nick=request.nick), "new nick"
    if owner is None:  # the same laptop under another serial: one more login name
        if len(mine.names) >= MOST_NAMES:
            raise Refusal(
                f"this laptop has registered under {MOST_NAMES} serials already: install the school's laptop package, "
                "which gives it one that stays, or ask the school's technician"
            )
        account, what = replace(account, names=(*account.names, request.serial)), f"new login name {request.serial}"
    # Where the serial is another learner's the key still opens its own tree, under its own name, and nothing else.
    theirs = owner is not None and owner.uid != account.uid
    if theirs and not learners.logins_of(mine):
        # It waited to be called the same child when its serial was handed on, or removed and taken: it cannot log in.
        raise Refusal(
            f"{request.serial} is another child's laptop now, and {mine.tree} has no login name of its own: ask the "
            "school's technician to remove it, and register again"
        )
    changed = account != mine
    return Plan(account, learners.login_of(mine) if theirs else request.serial, False, changed, what if changed else "")


def _new_key(known: Known, request: Request, now: datetime, rules: Rules, learners: Learners) -> Plan:
    owner = learners.holder(request.serial)
    same = (
        owner is not None
        and rules.rekey == AUTOMATIC
        and request.uuid in _uuids(owner, known, learners)
        and not learners.is_retired(owner)  # else the new key would open nothing either, and OK be a lie
    )
    if not same:
        _check_newcomer(known, request.serial, rules)
    # A known serial with a new key is a reflash, or a stranger: a tree apart, so neither reads or blocks the other.
    tree = free_tree(known.accounts.keys() | known.damaged.keys(), request.serial, further=owner is not None)
    account = Account(
        tree=tree,
        learner=tree,
        names=() if owner else (request.serial,),
        uid=owner.uid if owner else next_uid(known),
        keys=(AccountKey(request.key.type, request.key.blob, written(now)),),
        nick=request.nick,
        uuid=request.uuid,
        registered=written(now),
        class_name=owner.class_name if owner and same else "",
    )
    if owner and same:
        approval = Approval(JOINED, owner.tree, written(now), "xs_rekey: automatic")
        account = replace(account, learner=owner.tree, approvals=(approval,))
    what = f"joined to {owner.tree} by xs_rekey" if owner and same else "new key, tree apart" if owner else "new tree"
    return Plan(account, request.serial, True, True, what)


def _uuids(owner: Account, known: Known, learners: Learners) -> set[str]:
    """Return the uuids that the laptop of `owner` has sent, as far as they were believed."""
    learner = learners.learner_of(owner.tree)
    return {
        one.uuid
        for one in known.accounts.values()
        if one.uid == owner.uid and learners.learner_of(one.tree) == learner
    }  # fmt: skip


def _check_newcomer(known: Known, serial: str, rules: Rules) -> None:
    if rules.newcomers == CLOSED:
        raise Refusal("this school server takes no new laptops now: ask the school's technician to add this one")
    if rules.newcomers == LIST and serial not in rules.serials:
        raise Refusal(f"{serial} is not on this school's list of laptops: ask the school's technician to add it")
    if known.laptops >= rules.most_laptops:
        raise Refusal(
            f"this school server has its {rules.most_laptops} laptops and takes no more: ask the school's technician"
        )
