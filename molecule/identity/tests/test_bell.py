# SPDX-License-Identifier: GPL-3.0-or-later
"""Many at once: a whole school at the first bell, and services that are restarted in the middle of it."""

from __future__ import annotations

import base64
import secrets
import statistics
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from threading import Barrier
from xml.parsers.expat import ExpatError

import pytest

from laptop import SUGAR_SECONDS, Laptop, Laptops, Said, new_serial, register
from server import Server

SCHOOL = 300


@dataclass(frozen=True)
class Newcomer:
    """A laptop of which only the registration matters; its key is made without a key generator."""

    serial: str
    pubkey: str
    uuid: str

    @classmethod
    def made(cls) -> Newcomer:
        """Return a new one."""
        blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + secrets.token_bytes(32)
        return cls(new_serial(), base64.b64encode(blob).decode(), str(uuid.uuid4()))


@dataclass(frozen=True)
class Heard:
    """What a laptop heard, or that the line was cut, and after how many seconds."""

    success: str
    error: str
    seconds: float


def ask(server: Server, address: str, one: Newcomer | Laptop) -> Heard:
    """Register `one` from the network address `address`."""
    began = time.monotonic()
    try:
        facts = {"serial": one.serial, "nick": "Jim", "uuid": one.uuid, "pubkey": one.pubkey}
        answer = register(server.address, address, **facts)
    except (OSError, HTTPException, ExpatError) as error:  # cut off before, in or behind the headers
        answer = {"success": "none", "error": repr(error)}
    return Heard(answer["success"], answer.get("error", ""), time.monotonic() - began)


def assert_can_log_in(server: Server, serials: list[str]) -> None:
    """Fail unless each of `serials` is a login name with a key file."""
    names = [line.split(":") for line in server.run("cat /var/lib/extrausers/passwd").splitlines()]
    uids = {name[0]: name[2] for name in names}
    assert set(serials) <= uids.keys()
    files = set(server.run("ls /etc/xs/keys").split())
    assert {uids[serial] for serial in serials} <= files


def test_a_whole_school_that_registers_in_one_minute_hears_ok(
    laptops: Laptops, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    real = [laptops("Jim", kind=kind) for kind in ("dsa", "rsa", "ed25519")]
    school: list[Newcomer | Laptop] = [*real, *(Newcomer.made() for _ in range(SCHOOL - len(real)))]
    router = laptops("router").address  # they may all come from one address
    bell = Barrier(SCHOOL)

    def child(one: Newcomer | Laptop) -> tuple[Heard, Said | None]:
        bell.wait()
        heard = ask(server, router, one)
        return heard, one.ask("xs status") if isinstance(one, Laptop) else None

    with ThreadPoolExecutor(SCHOOL) as pool:
        answers = list(pool.map(child, school))
    heard = [one for one, _ in answers]
    assert [one for one in heard if one.success != "OK"] == []
    assert max(one.seconds for one in heard) < SUGAR_SECONDS
    logged_in = [said for _, said in answers if said is not None]
    assert [said.exit for said in logged_in] == [0, 0, 0], f"OK means that it can back up, at once: {logged_in}"
    assert_can_log_in(server, [one.serial for one in school])
    for laptop in real:
        laptop.write_many(1)
        laptop.back_up()
    slowest = max(one.seconds for one in heard)
    figures = statistics.quantiles((one.seconds for one in heard), n=100)
    with capsys.disabled():
        print(
            f"\n{SCHOOL} registrations at once: {SCHOOL / slowest:.0f} a second, "
            f"99th percentile {figures[98]:.2f} s, median {figures[49]:.2f} s, slowest {slowest:.2f} s"
        )


def test_services_that_are_restarted_in_the_middle_tell_no_lies(laptops: Laptops, server: Server) -> None:
    crowd = [Newcomer.made() for _ in range(80)]
    router = laptops("router").address

    def child(number: int) -> Heard:
        if number in (20, 50):
            server.run("systemctl restart xs-registrar xs-registration xs-permission xs-journal ssh")
        return ask(server, router, crowd[number])

    with ThreadPoolExecutor(16) as pool:
        heard = list(pool.map(child, range(len(crowd))))
    at_once = [one.serial for one, answer in zip(crowd, heard, strict=True) if answer.success == "OK"]
    assert at_once, "or nobody got through at all"
    assert_can_log_in(server, at_once)
    refused = [answer.error for answer in heard if answer.success == "ERR"]
    assert [error for error in refused if "try again" not in error] == []
    again = [ask(server, router, one) for one in crowd]
    assert {answer.success for answer in again} == {"OK"}
    assert_can_log_in(server, [one.serial for one in crowd])
