# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a machine in the school's network sends to registration: it is refused, and nothing changes.

What depends on the words alone is tested, and fuzzed, without a host (tests/schoolserver/test_registration.py).
"""

from __future__ import annotations

import base64
import gzip
import http.client
import secrets
import socket
import time
import uuid
import xmlrpc.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from laptop import Laptop, Laptops, new_serial, register
from server import Server

CALL = b"<?xml version='1.0'?>%s<methodCall><methodName>register</methodName><params>%s</params></methodCall>"
PARAM = b"<param><value><string>%s</string></value></param>"
UNDERSTOOD = "this server understands register(serial, nick, uuid, pubkey), four strings, and nothing else"
BURST, A_SECOND = 400, 1  # new accounts for one address: at once, and from then on


@pytest.fixture(scope="module")
def attacker(laptops: Laptops) -> Laptop:
    """A laptop that never registered, in hands that mean ill."""
    return laptops("Eve")


@pytest.fixture
def unchanged(server: Server, laptops: Laptops) -> Iterator[None]:
    """Who is who is afterwards what it was before, and a laptop that comes then is served."""
    before = server.identity(times=True)
    yield
    assert server.identity(times=True) == before
    laptops("Jim").settled(1)


def post(attacker: Laptop, body: bytes, **headers: str) -> tuple[int, bytes]:
    """Return status and body of the answer to `body`."""
    connection = http.client.HTTPConnection(attacker.server, 8080, timeout=30, source_address=(attacker.address, 0))
    connection.request("POST", "/", body, {"Content-Type": "text/xml", **headers})
    answer = connection.getresponse()
    return answer.status, answer.read()


def line_to(attacker: Laptop) -> socket.socket:
    """Return a connection to registration."""
    return socket.create_connection((attacker.server, 8080), timeout=30, source_address=(attacker.address, 0))


def fault(body: bytes) -> str:
    """Return the words of the XML-RPC fault in `body`."""
    with pytest.raises(xmlrpc.client.Fault) as refused:
        xmlrpc.client.loads(body.decode())
    return str(refused.value.faultString)


def call_of(attacker: Laptop, doctype: bytes, nick: bytes) -> bytes:
    """Return the request with which `attacker` would register, with a document type before it."""
    fields = (attacker.serial.encode(), nick, attacker.uuid.encode(), attacker.pubkey.encode())
    return CALL % (doctype, b"".join(PARAM % one for one in fields))


def test_an_xml_bomb_is_refused_in_one_line(unchanged: None, attacker: Laptop) -> None:
    bomb = b"<!DOCTYPE b [<!ENTITY a '%s'>%s]>" % (
        b"a" * 500,
        b"".join(b"<!ENTITY a%d '%s'>" % (n, b"&a%d;" % (n - 1) * 10 if n else b"&a;" * 10) for n in range(9)),
    )
    file = b"<!DOCTYPE b [<!ENTITY a8 SYSTEM 'file:///etc/shadow'>]>"
    away = b"<!DOCTYPE b [<!ENTITY a8 SYSTEM 'http://192.0.2.1/x'>]>"
    for doctype in (bomb, file, away):
        status, body = post(attacker, call_of(attacker, doctype, b"&a8;"))
        assert (status, fault(body)) == (200, UNDERSTOOD)


def test_a_compressed_body_is_not_unpacked(unchanged: None, attacker: Laptop) -> None:
    call = call_of(attacker, b"", b"Eve" + b" " * 10_000_000)
    assert post(attacker, gzip.compress(call), **{"Content-Encoding": "gzip"})[0] == 415
    assert fault(post(attacker, gzip.compress(call))[1]) == UNDERSTOOD


@pytest.mark.parametrize("length", [17 * 1024, 10 * 1024**3])
def test_an_oversized_request_is_not_read(unchanged: None, attacker: Laptop, length: int) -> None:
    with line_to(attacker) as line:
        line.sendall(b"POST / HTTP/1.1\r\nHost: schoolserver\r\nContent-Length: %d\r\n\r\n" % length)
        assert line.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("beginning", "more"),
    [
        (
            b"POST / HTTP/1.1\r\nHost: schoolserver\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"400\r\n%s\r\n" % (b"a" * 1024),
        ),
        (b"POST / HTTP/1.1\r\n", b"X-More: %s\r\n" % (b"a" * 1024)),
        (b"", b"a" * 1024),
    ],
    ids=["body", "headers", "first line"],
)
def test_a_request_that_never_ends_is_cut_off(unchanged: None, attacker: Laptop, beginning: bytes, more: bytes) -> None:
    with line_to(attacker) as line:
        line.sendall(beginning)
        sent = 0
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            while sent < 64 * 1024**2:
                sent += line.send(more)
        assert sent < 16 * 1024**2


def test_slow_laptops_do_not_hold_up_the_others(unchanged: None, laptops: Laptops, attacker: Laptop) -> None:
    call = call_of(attacker, b"", b"Eve")
    with ExitStack() as held:
        lines = [held.enter_context(line_to(attacker)) for _ in range(200)]
        for line in lines:
            line.sendall(b"POST / HTTP/1.1\r\nHost: schoolserver\r\nContent-Length: %d\r\n\r\n" % len(call))
        for letter in range(3):
            for line in lines:
                line.sendall(call[letter : letter + 1])
            refused = laptops("Pi", serial="SHF00000000").register()  # an answer, and no new account
            assert refused["success"] == "ERR"


@pytest.mark.parametrize(
    "call",
    [
        xmlrpc.client.dumps(("SHC00000001", "Jim", "11111111-2222-3333-4444-555555555555"), "register"),
        xmlrpc.client.dumps((1, 2, 3, 4), "register"),
        xmlrpc.client.dumps(("SHC00000001", "Jim", "11111111-2222-3333-4444-555555555555", ["x"]), "register"),
        xmlrpc.client.dumps(({"system.listMethods": 1},), "system.multicall"),
        "<methodCall><methodName>register</methodName>",
    ],
)
def test_what_is_no_registration_is_refused_in_one_line(unchanged: None, attacker: Laptop, call: str) -> None:
    assert fault(post(attacker, call.encode())[1]) == UNDERSTOOD


def test_a_registration_that_cannot_be_is_refused_in_words(unchanged: None, server: Server, attacker: Laptop) -> None:
    right = {"serial": attacker.serial, "nick": "Eve", "uuid": attacker.uuid, "pubkey": attacker.pubkey}
    key = base64.b64encode(base64.b64decode(attacker.pubkey)[:-3]).decode()
    for field, value, words in (
        ("serial", "../../../etc", "the serial must be"), ("serial", "root", "the serial must be"),
        ("serial", "-oProxyCommand", "the serial must be"),
        ("serial", "SHC1234567\N{DEVANAGARI DIGIT EIGHT}", "the serial must be"),
        ("serial", "SHC12345678\n", "the serial must be"), ("uuid", "x" * 36, "the uuid must look like"),
        ("pubkey", "", "key"), ("pubkey", key, "it is cut short"),
        ("pubkey", f'command="id" ssh-dss {attacker.pubkey}', "the public key"),
        ("pubkey", f"{attacker.pubkey}\n{attacker.pubkey}", "one line"),
    ):  # fmt: skip
        answer = register(server.address, attacker.address, **{**right, field: value})
        assert answer["success"] == "ERR", (field, value)
        assert words in answer["error"]
        assert "\n" not in answer["error"]


def test_the_servers_own_login_names_are_no_laptops(unchanged: None, server: Server, attacker: Laptop) -> None:
    server.run("useradd --system --no-create-home ABC12345678")
    try:
        facts = {"serial": "ABC12345678", "nick": "Eve", "uuid": attacker.uuid, "pubkey": attacker.pubkey}
        answer = register(server.address, attacker.address, **facts)
    finally:
        server.run("userdel ABC12345678")
    assert answer["success"] == "ERR"
    assert "ABC12345678 is an account of the school server itself" in answer["error"]


def test_invented_serials_by_the_thousand_end_at_the_burst(laptops: Laptops, server: Server, attacker: Laptop) -> None:
    child, newcomer = laptops("Jim").settled(1), laptops("Ann")
    known = set(server.laptops())

    def invent(_: int) -> dict[str, str]:
        key = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + secrets.token_bytes(32)).decode()
        facts = {"serial": new_serial(), "nick": "Eve", "uuid": str(uuid.uuid4()), "pubkey": key}
        return register(server.address, attacker.address, **facts)

    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(invent, range(700)))
        # Meanwhile the others are served, those behind other addresses with new accounts as well.
        rest = [pool.submit(invent, number) for number in range(300)]
        assert child.register()["success"] == "OK"
        newcomer.settled(1)
        answers += [one.result() for one in rest]
    took = time.monotonic() - began
    refused = {one["error"] for one in answers if one["success"] == "ERR"}
    assert refused == {"too many new laptops registered from here just now: try again in a few minutes"}
    made = set(server.laptops()) - known - {newcomer.serial}
    assert BURST <= len(made) <= BURST + A_SECOND * took + 1
    assert len(made) == sum(one["success"] == "OK" for one in answers)
    # A classmate behind the same router who is known already is never one too many.
    child.address = attacker.address
    assert child.register()["success"] == "OK"
    assert "too many new laptops registered from here" in server.xs("laptop", "list")
