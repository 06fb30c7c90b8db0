# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out registrations: asks policy.py, writes account.json, and everything derived from it. Root's part.

Registration asks it over a local socket. Between requests it remembers only whom it refused and which addresses were
busy. What a person says of laptops goes beside it, through acts.py, under the same lock.
"""

from __future__ import annotations

import ipaddress
import pwd
import select
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from schoolserver import audit, house, local_server, local_socket, paths, policy, refusals, settings, stamps
from schoolserver.accounts import Known
from schoolserver.errors import Refusal
from schoolserver.house import House
from schoolserver.limits import NewAccounts
from schoolserver.local_socket import Message
from schoolserver.policy import Plan, Rules

_AT_ONCE = 64  # requests answered in one go
_SECONDS = 2.0  # registration sends its line at once, and the others wait meanwhile
Outcome = Plan | Refusal | OSError


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


@dataclass
class Desk:
    """What the running part knows beside the accounts."""

    house: House
    rules: Callable[[], Rules] = load_rules  # asked each time: a role may have changed the settings
    limits: NewAccounts = field(default_factory=NewAccounts)

    @property
    def refused(self) -> Path:
        """Where it is written who was refused."""
        return self.house.state / paths.REFUSALS.name


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
        before = known.accounts
        for message in messages:
            try:
                plan = _decide(known, message, rules, limits or NewAccounts())
                known = known.plus(plan.account)
                outcomes.append(plan)
            except Refusal as refusal:
                outcomes.append(refusal)
        plans = [outcome for outcome in outcomes if isinstance(outcome, Plan)]
        steps = {plan.account.tree: (before.get(plan.account.tree), plan.account) for plan in plans}
        failed: dict[str, OSError] = {}
        try:
            if plans:  # unchanged or not: OK means that it can back up
                audit.record(where.audit, _entries(zip(messages, outcomes, strict=True)), house.readers())
                failed = house.save(where, list(steps.values()))
                house.write_derived(where, (house.read(where) if failed else known).accounts.values())
        except OSError as error:
            failed = dict.fromkeys(steps, error)
    return [failed.get(one.account.tree, one) if isinstance(one, Plan) else one for one in outcomes]


def _decide(known: Known, message: Message, rules: Rules, limits: NewAccounts) -> Plan:
    request, address = policy.check(message), str(message.get("address", ""))
    plan = policy.decide(known, request, datetime.now(UTC), rules)
    house.check_name_is_free(request.serial)
    if plan.new:
        limits.spend(address, time.monotonic())
    return plan


def _entries(done: Iterable[tuple[Message, Outcome]]) -> list[audit.Entry]:
    """Return what the audit trail says of these; a nick, which a laptop can change for ever, is not in it."""
    when = stamps.written(datetime.now(UTC))
    return [
        audit.Entry(when, f"laptop {message['serial']}", str(message.get("address", "")), plan.account.tree, plan.what)
        for message, plan in done
        if isinstance(plan, Plan) and plan.what not in ("", "new nick")
    ]


def main() -> int:
    """Serve registrations on the socket that systemd passed, for ever."""
    try:
        listener = local_server.inherited("registrar")
        load_rules()  # a start says at once what is wrong with them
        house.derive()
    except (Refusal, OSError) as error:
        print(f"xs-registrar: {error}", file=sys.stderr)
        return 1
    desk = Desk(House())
    while True:
        serve(listener, desk)


def serve(listener: socket.socket, desk: Desk) -> None:
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
        outcomes = _carry_out(messages, desk)
        _remember(desk, messages, outcomes)
        for (connection, _), outcome in zip(waiting, outcomes, strict=True):
            _send(connection, outcome)


def _carry_out(messages: list[Message], desk: Desk) -> list[Outcome]:
    try:
        return register_all(messages, desk.house, desk.rules(), desk.limits)
    except Refusal as refusal:  # of the settings: nobody is let in by rules that the school may not mean
        return [OSError(str(refusal)) for _ in messages]


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
    if local_server.peer_uid(connection) not in (0, pwd.getpwnam("xs-registration").pw_uid):
        raise Refusal("only registration may ask the registrar")
    if message.pop("op", None) != "register":
        raise Refusal("the registrar knows one operation: register")
    # Registration, taken over, must not be able to leave it out: "" would be this machine, which has no limit.
    message["address"] = _address(message.get("address"))
    return message


def _address(given: object) -> str:
    try:
        address = ipaddress.ip_address(str(given))
    except ValueError:
        return "unknown"
    # Registration listens to both families with one socket, which shows 172.18.0.77 as ::ffff:ac12:4d.
    return str(getattr(address, "ipv4_mapped", None) or address)


def _remember(desk: Desk, messages: list[Message], outcomes: list[Outcome]) -> None:
    """Write down who was refused and why; a laptop that was refused for something and is in now is taken out."""
    before = refusals.read(desk.refused)
    now = before
    for message, outcome in zip(messages, outcomes, strict=True):
        if isinstance(outcome, Refusal):
            now = refusals.add(now, message, str(outcome), stamps.written(datetime.now(UTC)))
        elif isinstance(outcome, Plan):
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
