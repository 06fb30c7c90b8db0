# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E402  what pytest shall explain when it fails must be named before it is imported
"""The school server, Eve, and Jim. Around each group of attacks: nothing has changed, and Jim is served as ever."""

from __future__ import annotations

import re
import secrets
import shutil
import uuid
from collections.abc import Callable, Iterator

import pytest
import testinfra

pytest.register_assert_rewrite("laptop", "server", "ground", "eve", "siege")

import network
from eve import Answer, Eve, refused
from ground import Ground
from laptop import Laptop, new_serial
from siege import LAB, SECRET, Guard, Refuse, hostile_rsync, with_history


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Ground:
    """The school server."""
    inventory = request.config.getoption("ansible_inventory")
    host = testinfra.get_host("ansible://schoolserver", ansible_inventory=inventory)
    return Ground(host, network.address_of(inventory, "schoolserver"))


@pytest.fixture(scope="session")
def laptops(server: Ground) -> Callable[[str], Laptop]:
    """`laptops("Jim")` is a new laptop with a key, not registered yet."""
    homes = LAB / "laptops"
    shutil.rmtree(homes, ignore_errors=True)
    addresses = network.addresses(server.address)

    def make(nick: str) -> Laptop:
        return Laptop.made(
            homes / f"{nick}-{secrets.token_hex(4)}", "ed25519", server=server.address, address=next(addresses),
            serial=new_serial(), uuid=str(uuid.uuid4()), nick=nick,
        )  # fmt: skip

    return make


@pytest.fixture(scope="module")
def jim(laptops: Callable[[str], Laptop]) -> Laptop:
    """A child with documents, snapshots and a keepsake, all of which Eve would like to read, change or delete."""
    laptop = laptops("Jim")
    with_history(laptop, SECRET)
    return laptop


@pytest.fixture(scope="module")
def eve(laptops: Callable[[str], Laptop], server: Ground) -> Iterator[Eve]:
    """A registered laptop in hostile hands, with a history; another one for each group: only 24 runs a day count."""
    laptop = laptops("Eve")
    kept = with_history(laptop, "Eve was here")
    eve = Eve(laptop, server.uid_of(laptop.serial), server.stamps(laptop.serial), kept)
    yield eve
    eve.hang_up()


@pytest.fixture(scope="module")
def kept(server: Ground, jim: Laptop) -> str:
    """Jim's keepsake, as a path in his tree."""
    return server.run(f"cd /library/users/{jim.serial} && ls -d keepsakes/*/*").strip()


@pytest.fixture(scope="module", autouse=True)
def guard(server: Ground, jim: Laptop, eve: Eve) -> Iterator[Guard]:
    """Nothing of Jim's or the server's is changed by a group of attacks, and Jim's next backup runs through."""
    guard = Guard(server, jim, eve)
    yield guard
    eve.hang_up()
    guard.serve()


@pytest.fixture
def refuse(server: Ground, eve: Eve) -> Refuse:
    """`refuse(command)` fails unless the gate refuses it, in one line that is in the server's log too."""

    def ask(command: str | bytes) -> str:
        server.mark()
        said: Answer = eve.say(command)
        reason = refused(said)
        server.told(f"refused uid {eve.uid} .*: {re.escape(reason)}$", of="xs-gate")
        return reason

    return ask


@pytest.fixture(scope="module")
def owned(server: Ground) -> Iterator[None]:
    """For a group of tests, hostile_rsync()."""
    with hostile_rsync(server):
        yield
