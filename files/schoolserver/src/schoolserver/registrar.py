# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out registrations: asks policy.py, writes account.json, and everything derived from it. Root's part.

Registration asks it over a local socket; xs_laptop calls register() too, in a process of its own. Between requests it
remembers only whom it refused and which addresses were busy.
"""

from __future__ import annotations

import pwd
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from schoolserver import audit, house, local_socket, paths, policy, refusals, settings, stamps, trees
from schoolserver.accounts import Known
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from schoolserver.house import House
from schoolserver.limits import NewAccounts
from schoolserver.local_socket import Message
from schoolserver.policy import Plan, Rules

_AT_ONCE = 64  # requests answered in one go
_SECONDS = 2.0  # registration sends its line at once, and the others wait meanwhile
_FREE_OF_CHARGE = ("", "new nick")  # what a laptop can change as often as it likes is not in the audit trail
Outcome = Plan | Refusal | OSError


@dataclass
class Desk:
    """What the running part knows beside the accounts."""

    house: House
    limits: NewAccounts = field(default_factory=NewAccounts)

    @property
    def refused(self) -> Path:
        """Where it is written who was refused."""
        return self.house.state / paths.REFUSALS.name


def load_rules() -> Rules:
    """Return the school's rules for laptops that register by themselves; raise Refusal on settings that are none."""
    chosen = settings.load("registration")
    return Rules(
        newcomers=chosen.newcomers,
        serials=frozenset(chosen.serials),
        most_laptops=chosen.most_laptops,
        rekey=chosen.rekey,
        dsa=settings.load("accounts").dsa,
    )


def load_own_rules() -> Rules:
    """Return the rules for a technician's own list: who is on it needs no leave."""
    return Rules(most_laptops=settings.load("registration").most_laptops, dsa=settings.load("accounts").dsa)


def register(message: Message, where: House | None = None, rules: Rules | None = None) -> Plan:
    """Carry out the registration in `message` and return its plan, done; raise Refusal, or OSError.

    When this returns the laptop can back up. The caller is root.
    """
    outcome = register_all([message], where or House(), rules or Rules())[0]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def register_all(
    messages: list[Message], where: House, rules: Rules, limits: NewAccounts | None = None
) -> list[Outcome]:
    """Carry out each registration in `messages` and return what became of it, in the same order.

    What is derived is written once for all of them: at the bell a class of laptops costs little more than one.
    """
    outcomes: list[Outcome] = []
    with house.alone(where):
        known = house.read(where)
        for message in messages:
            try:
                plan = _carry_out(known, message, where, rules, limits or NewAccounts())
                known = known.plus(plan.account)
                outcomes.append(plan)
            except Refusal as refusal:
                outcomes.append(refusal)
            except OSError as error:
                outcomes.append(error)
                known = house.read(where)  # it may have got as far as account.json: its uid must not be given again
        try:
            if any(isinstance(outcome, Plan) for outcome in outcomes):  # unchanged or not: OK means it can back up
                house.write_derived(where, known.accounts.values())
        except OSError as error:
            return [error if isinstance(outcome, Plan) else outcome for outcome in outcomes]
    return outcomes


def _carry_out(known: Known, message: Message, where: House, rules: Rules, limits: NewAccounts) -> Plan:
    request, address = policy.check(message), str(message.get("address", ""))
    now = datetime.now(UTC)
    plan = policy.decide(known, request, now, rules)
    house.check_name_is_free(request.serial)
    if plan.new:
        limits.check(address, time.monotonic())
    if plan.what not in _FREE_OF_CHARGE:
        who = Who(str(message.get("by", "")) or f"laptop {request.serial}", address)
        entry = audit.Entry(stamps.written(now), who.name, who.place, plan.account.tree, plan.what)
        audit.record(where.audit, [entry], house.readers())
    if plan.changed:
        house.save(where, plan.account, new=plan.new)
    trees.complete(where.users, plan.account)
    if plan.new:
        limits.spend(address, time.monotonic())
    return plan


def main() -> int:
    """Serve registrations on the socket that systemd passed, for ever."""
    try:
        listener = local_socket.inherited("registrar")
        rules = load_rules()
        house.derive()
    except (Refusal, OSError) as error:
        print(f"xs-registrar: {error}", file=sys.stderr)
        return 1
    desk = Desk(House())
    while True:
        serve(listener, desk, rules)


def serve(listener: socket.socket, desk: Desk, rules: Rules) -> None:
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
        messages = [message for _, message in waiting]
        outcomes = register_all(messages, desk.house, rules, desk.limits)
        _remember(desk, messages, outcomes)
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
    if message.pop("op", None) != "register":
        raise Refusal("the registrar knows one operation: register")
    message.pop("by", None)  # who registers over the network is a laptop, whatever registration, taken over, may say
    return message


def _remember(desk: Desk, messages: list[Message], outcomes: list[Outcome]) -> None:
    """Write down who was refused and why; a laptop that was refused for something and is in now is taken out."""
    before = refusals.read(desk.refused)
    now = before
    for message, outcome in zip(messages, outcomes, strict=True):
        if isinstance(outcome, Refusal):
            now = refusals.add(now, message, str(outcome), stamps.written(datetime.now(UTC)))
        else:
            now = [one for one in now if one.serial != message.get("serial")]
    try:
        if now != before:
            refusals.write(desk.refused, now, house.readers())
    except OSError as error:  # nobody's registration depends on it
        print(f"{desk.refused}: {error}", file=sys.stderr, flush=True)


def _send(connection: socket.socket, outcome: Outcome) -> None:
    reply: Message = {"ok": False, "error": str(outcome)}
    if isinstance(outcome, OSError):
        print(f"a registration failed: {outcome}", file=sys.stderr, flush=True)
        reply["error"] = "the school server could not write the account: ask the school's technician"
    elif isinstance(outcome, Plan):
        reply = {"ok": True, "login": outcome.login, "tree": outcome.account.tree}
        if outcome.changed:
            print(f"{outcome.login} -> {outcome.account.tree}: {outcome.what}", flush=True)
    try:
        local_socket.send(connection, reply)
    except OSError as error:
        print(f"an asker has gone: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
