# SPDX-License-Identifier: GPL-3.0-or-later
"""Laptops for tests: their keys, made without a key generator, and what they register with."""

from __future__ import annotations

import base64
import struct
from datetime import UTC, datetime

from schoolserver import policy
from schoolserver.accounts import Known
from schoolserver.identity import Key, parse_key
from schoolserver.policy import Request

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
UUID = "11111111-2222-3333-4444-555555555555"
JIM, ANN, EVE = "SHC11111111", "SHC22222222", "SHC33333333"


def string(raw: bytes) -> bytes:
    return struct.pack(">I", len(raw)) + raw


def mpint(number: int) -> bytes:
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def body(*parts: bytes) -> str:
    return base64.b64encode(b"".join(parts)).decode()


def dsa(number: int = 0, *, bits: int = 1024) -> str:
    """The base64 body of a well-formed DSA key, another one for each number: what Sugar sends."""
    p, q = (1 << bits - 1) + 2 * number + 1, (1 << 159) + 1
    return body(string(b"ssh-dss"), mpint(p), mpint(q), mpint(2), mpint(3))


def rsa(*, bits: int = 2048, exponent: int = 65537) -> str:
    return body(string(b"ssh-rsa"), mpint(exponent), mpint((1 << bits - 1) + 1))


def ed25519(number: int = 0, *, length: int = 32) -> str:
    return body(string(b"ssh-ed25519"), string(bytes([number]) * length))


def message(serial: str = JIM, key: str | None = None, nick: str = "Jim", uuid: str = UUID) -> dict[str, object]:
    """A registration as it reaches the registrar."""
    return {"serial": serial, "nick": nick, "uuid": uuid, "pubkey": dsa() if key is None else key}


def request(serial: str = JIM, key: int = 0, nick: str = "Jim") -> Request:
    """A checked registration with the `key`-th key."""
    return Request(serial, nick, UUID, key_of(key))


def key_of(number: int) -> Key:
    return parse_key(dsa(number))


def after(*requests: Request) -> Known:
    """What is known after these registrations, one after the other."""
    known = Known()
    for each in requests:
        plan = policy.decide(known, each, NOW)
        known = known.plus(plan.account)
    return known
