# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides who is who, writes account.json, and everything that is derived from it. Root's part; asked by registration.

The case table in docs/architecture.md is decide(); the rest carries it out. Nothing is remembered between requests: the
`xs` command and the Ansible modules call register() too, in processes of their own.
"""

from __future__ import annotations

import fcntl
import grp
import itertools
import os
import pwd
import select
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from schoolserver import accounts, local_socket, login_names, paths, registry, trees
from schoolserver.accounts import Account, AccountKey, Known
from schoolserver.errors import Refusal
from schoolserver.identity import Key, check_nick, check_serial, check_uuid, parse_key
from schoolserver.local_socket import Message

_AT_ONCE = 64  # requests answered in one go
_SECONDS = 2.0  # registration sends its line at once, and the others wait meanwhile


@dataclass(frozen=True)
class House:
    """Where everything stands; tests stand elsewhere."""

    users: Path = paths.USERS
    state: Path = paths.STATE
    extrausers: Path = paths.EXTRAUSERS
    keys: Path = paths.KEYS


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


def check(message: Message) -> Request:
    """Return the registration in `message` (serial, nick, uuid, pubkey), every field checked; raise Refusal."""
    serial, nick, uuid, pubkey = (message.get(field) for field in ("serial", "nick", "uuid", "pubkey"))
    if not (isinstance(serial, str) and isinstance(nick, str) and isinstance(uuid, str) and isinstance(pubkey, str)):
        raise Refusal("serial, nick, uuid and pubkey must all be given, as text")
    return Request(check_serial(serial), check_nick(nick), check_uuid(uuid), parse_key(pubkey))


def decide(known: Known, request: Request, now: datetime) -> Plan:
    """Return what `request`, at the UTC time `now`, leads to; raise Refusal. The key decides, not the serial."""
    if request.serial in known.damaged:
        raise Refusal(f"the account of {request.serial} on the school server is damaged: ask the school's technician")
    by_key = _holder_of_key(known, request.key)
    by_serial = next((a for a in known.accounts.values() if request.serial in a.names), None)
    if by_key:
        account = replace(by_key, nick=request.nick)
        if not by_serial:  # the same laptop under another serial: one more login name
            account = replace(account, names=(*account.names, request.serial))
        # Where the serial is another learner's the key still opens its own tree, under its own name, and nothing else.
        theirs = by_serial is None or by_serial.uid == account.uid
        return Plan(account, request.serial if theirs else account.serial, False, account != by_key)
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    # A known serial with a new key is a reflash, or a stranger: a tree apart, so neither reads or blocks the other.
    tree = _free_tree(known, request.serial, further=by_serial is not None)
    account = Account(
        tree=tree,
        learner=tree,
        names=() if by_serial else (request.serial,),
        uid=by_serial.uid if by_serial else _next_uid(known),
        keys=(AccountKey(request.key.type, request.key.blob, time),),
        nick=request.nick,
        uuid=request.uuid,
        registered=time,
    )
    return Plan(account, request.serial, True, True)


def register(message: Message, house: House | None = None) -> Plan:
    """Carry out the registration in `message` and return its plan, done; raise Refusal, or OSError.

    When this returns the laptop can back up. The caller is root.
    """
    outcome = register_all([message], house or House())[0]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def register_all(messages: list[Message], house: House) -> list[Plan | Refusal | OSError]:
    """Carry out each registration in `messages` and return what became of it, in the same order.

    What is derived is written once for all of them: at the bell a class of laptops costs little more than one.
    """
    outcomes: list[Plan | Refusal | OSError] = []
    with _alone(house):
        known = _read(house)
        for message in messages:
            try:
                plan = _carry_out(known, message, house)
                known = known.plus(plan.account)
                outcomes.append(plan)
            except Refusal as refusal:
                outcomes.append(refusal)
            except OSError as error:
                outcomes.append(error)
                known = _read(house)  # it may have got as far as account.json: its uid must not be given again
        try:
            if any(isinstance(outcome, Plan) for outcome in outcomes):  # unchanged or not: OK means it can back up
                _derive(house, known.accounts)
        except OSError as error:
            return [error if isinstance(outcome, Plan) else outcome for outcome in outcomes]
    return outcomes


def _carry_out(known: Known, message: Message, house: House) -> Plan:
    request = check(message)
    plan = decide(known, request, datetime.now(UTC))
    _check_name_is_free(request.serial)
    if plan.new:
        trees.make(house.users, plan.account)
    elif plan.changed:
        accounts.write(house.users, plan.account)
    trees.complete(house.users, plan.account)
    return plan


def derive(house: House | None = None) -> None:
    """Write everything again that follows from the account.json files, and mend every tree; raise OSError.

    At each start: a crash in a registration, a lost /var, or a library from another machine leave no other trace.
    """
    house = house or House()
    with _alone(house):
        known = _read(house)
        for tree, reason in known.damaged.items():
            print(f"skipped {house.users / tree / accounts.FILE}: {reason}", file=sys.stderr, flush=True)
        for account in known.accounts.values():
            try:
                trees.complete(house.users, account)
            except OSError as error:
                print(f"{account.tree} is damaged and stays as it is: {error}", file=sys.stderr, flush=True)
        _derive(house, known.accounts)


def consistent(known: Known) -> Known:
    """Return `known` without the accounts that claim a name or a key which an older account has, those as damaged.

    One name, one learner; a key writes exactly one tree. Only a hand that copied a tree can have made such a pair.
    """
    good: dict[str, Account] = {}
    damaged = dict(known.damaged)
    claimed: dict[str, str] = {}
    for account in sorted(known.accounts.values(), key=lambda a: (a.registered, a.tree)):
        claims = [*account.names, *(key.blob for key in account.keys)]
        other = next((claimed[claim] for claim in claims if claim in claimed), None)
        if other is None:
            good[account.tree] = account
            claimed.update(dict.fromkeys(claims, account.tree))
        else:
            damaged[account.tree] = f"it has a name or a key that {other} has"
    return Known(good, damaged, known.uids)


def main() -> int:
    """Serve registrations on the socket that systemd passed, for ever."""
    try:
        listener = local_socket.inherited("registrar")
        derive()
    except (Refusal, OSError) as error:
        print(f"xs-registrar: {error}", file=sys.stderr)
        return 1
    while True:
        serve(listener, House())


def serve(listener: socket.socket, house: House) -> None:
    """Answer the requests that wait at `listener`, at least one, all in one go."""
    with ExitStack() as stack:
        waiting: list[tuple[socket.socket, Message]] = []
        for connection in _accept(listener):
            stack.enter_context(connection)
            try:
                waiting.append((connection, _receive(connection)))
            except Refusal as refusal:
                _send(connection, refusal)
            except OSError as error:
                print(f"dropped a local connection: {error}", file=sys.stderr, flush=True)
        outcomes = register_all([message for _, message in waiting], house)
        for (connection, _), outcome in zip(waiting, outcomes, strict=True):
            _send(connection, outcome)


def _accept(listener: socket.socket) -> Iterator[socket.socket]:
    yield listener.accept()[0]
    for _ in range(_AT_ONCE - 1):
        if not select.select([listener], [], [], 0)[0]:
            return
        yield listener.accept()[0]


def _receive(connection: socket.socket) -> Message:
    connection.settimeout(_SECONDS)
    message = local_socket.receive(connection)
    # The socket's mode keeps the others out; this is the second lock, for the day somebody loosens the first.
    if local_socket.peer_uid(connection) not in (0, pwd.getpwnam("xs-registration").pw_uid):
        raise Refusal("only registration may ask the registrar")
    if message.get("op") != "register":
        raise Refusal("the registrar knows one operation: register")
    return message


def _send(connection: socket.socket, outcome: Plan | Refusal | OSError) -> None:
    reply: Message = {"ok": False, "error": str(outcome)}
    if isinstance(outcome, OSError):
        print(f"a registration failed: {outcome}", file=sys.stderr, flush=True)
        reply["error"] = "the school server could not write the account: ask the school's technician"
    elif isinstance(outcome, Plan):
        reply = {"ok": True, "login": outcome.login, "tree": outcome.account.tree}
        if outcome.changed:
            what = "new tree" if outcome.new else "changed"
            print(f"{outcome.login} -> {outcome.account.tree}: {what}", flush=True)
    try:
        local_socket.send(connection, reply)
    except OSError as error:
        print(f"an asker has gone: {error}", file=sys.stderr, flush=True)


def _holder_of_key(known: Known, key: Key) -> Account | None:
    return next((a for a in known.accounts.values() if any(mine.blob == key.blob for mine in a.keys)), None)


def _free_tree(known: Known, serial: str, *, further: bool) -> str:
    numbered = (f"{serial}.{number}" for number in itertools.count(2))
    names = numbered if further else itertools.chain([serial], numbered)
    return next(name for name in names if name not in known.accounts and name not in known.damaged)


def _next_uid(known: Known) -> int:
    uid = max(known.uids, default=accounts.FIRST_UID - 1) + 1
    if uid > accounts.LAST_UID:
        raise Refusal("the school server has no room for another laptop: ask the school's technician")
    return uid


def _check_name_is_free(serial: str) -> None:
    try:
        uid = pwd.getpwnam(serial).pw_uid
    except KeyError:
        return
    if not accounts.FIRST_UID <= uid <= accounts.LAST_UID:
        raise Refusal(f"{serial} is an account of the school server itself: ask the school's technician")


def _read(house: House) -> Known:
    return consistent(accounts.read_all(house.users))


def _derive(house: House, known: dict[str, Account]) -> None:
    everyone = [account for _, account in sorted(known.items())]
    registry.write(house.state / paths.REGISTRY.name, everyone, _readers())
    login_names.write(everyone, house.extrausers, house.keys)


def _readers() -> int:
    try:
        return grp.getgrnam("xs-readers").gr_gid
    except KeyError:
        return 0  # the package that brings the group is not there: root alone reads


@contextmanager
def _alone(house: House) -> Iterator[None]:
    """Hold the lock that every writer of accounts takes."""
    lock = os.open(house.state / "registrar.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


if __name__ == "__main__":
    sys.exit(main())
