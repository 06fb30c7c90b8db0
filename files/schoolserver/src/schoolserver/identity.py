# SPDX-License-Identifier: GPL-3.0-or-later
"""What a laptop says about itself, checked: serial, nick, uuid and public key (PROTOCOL.md section 2).

Everything here comes from a stranger. Each function returns the checked value or raises Refusal with one sentence for
the person at the laptop.
"""

from __future__ import annotations

import base64
import binascii
import struct
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from schoolserver.errors import Refusal
from schoolserver.names import SERIAL, UUID

# What every Raspberry Pi and other board without XO hardware claims to be.
NOBODYS_SERIAL = "SHF00000000"
NOBODYS_UUID = "00000000-0000-0000-0000-000000000000"
_WAY_OUT = "install the school's laptop package, which gives this machine a name of its own"

_LONGEST_NICK = 80
_LONGEST_CLASS = 20
# Cc, Cf, Cs, Co: escape sequences would write on a technician's terminal, direction marks would fake another's name.
_INVISIBLE = {"Cc", "Cf", "Cs", "Co"}
# But Hindi, Nepali, Sinhala and Persian names are misspelt without the two joiners.
JOINERS = "\u200c\u200d"

_LONGEST_KEY = 8192  # characters; a 16384-bit RSA key takes about 2,750


@dataclass(frozen=True)
class Key:
    """A public key: its type, such as "ssh-dss", and its blob in base64, as both stand in a key file."""

    type: str
    blob: str


def check_serial(text: str) -> str:
    """Return `text` if it can name a laptop."""
    if not SERIAL.fullmatch(text):
        raise Refusal("the serial must be three capital letters and eight letters or digits, such as SHC12345678")
    if text == NOBODYS_SERIAL:
        raise Refusal(f"{NOBODYS_SERIAL} is what every board without a serial says, not one laptop: {_WAY_OUT}")
    return text


def check_nick(text: str) -> str:
    """Return `text` as it may be shown: one line of at most 80 visible characters, possibly none."""
    spaced = "".join(" " if c.isspace() else c for c in text)
    visible = "".join(c for c in spaced if c in JOINERS or unicodedata.category(c) not in _INVISIBLE)
    return " ".join(unicodedata.normalize("NFC", visible).split())[:_LONGEST_NICK].strip()


def check_class(text: str) -> str:
    """Return the name of a school class as it may be shown: as a nick, but shorter, since it heads columns."""
    return check_nick(text)[:_LONGEST_CLASS].strip()


def check_uuid(text: str) -> str:
    """Return `text` in lower case if it is a uuid that can be a machine's own."""
    lower = text.lower()
    if not UUID.fullmatch(lower):
        raise Refusal("the uuid must look like 12345678-9abc-def0-1234-56789abcdef0")
    if lower == NOBODYS_UUID:
        raise Refusal(f"the zero uuid is what every board without one says, not one laptop: {_WAY_OUT}")
    return lower


def parse_key(text: str) -> Key:
    """Return the key in `text`: its base64 body alone, as Sugar sends it, or `type base64 [comment]`.

    The whole blob is taken apart, so that nothing but a key can reach a key file: not a second line, not an option, and
    not a key that sshd would refuse after registration had said OK.
    """
    if len(text) > _LONGEST_KEY:
        raise Refusal("the public key is too long")
    words = text.strip(" \r\n").split(" ", 2)
    if not text.isascii() or not text.strip(" \r\n").isprintable():
        raise Refusal("the public key must be one line of plain letters, digits and signs")
    claimed, blob = (words[0], words[1]) if len(words) > 1 else ("", words[0])
    try:
        raw = base64.b64decode(blob, validate=True)
    except binascii.Error as error:
        raise Refusal("the public key is damaged: it is not base64") from error
    if base64.b64encode(raw).decode() != blob:  # bits hidden in the padding would make two names for one key
        raise Refusal("the public key is damaged: its base64 does not end properly")
    try:
        parts = list(_parts(raw))
        kind = parts[0].decode("ascii")
    except (IndexError, UnicodeDecodeError) as error:
        raise Refusal("the public key is damaged: it names no type") from error
    if claimed not in ("", kind):
        raise Refusal("the public key is damaged: it says one type and contains another")
    _check_parts(kind, parts[1:])
    return Key(kind, blob)


def _check_parts(kind: str, parts: list[bytes]) -> None:
    if kind == "ssh-ed25519":
        good = len(parts) == 1 and len(parts[0]) == 32
    elif kind == "ssh-rsa" and len(parts) == 2:
        exponent, modulus = map(_number, parts)
        # From 1024 bits: laptops in the field keep the key they have, and sshd's own lower bound is the same.
        odd = exponent % 2 == modulus % 2 == 1
        good = odd and 3 <= exponent < 2**64 and 1024 <= modulus.bit_length() <= 16384
    elif kind == "ssh-dss" and len(parts) == 4:
        p, q, g, y = map(_number, parts)
        # Every Sugar makes such keys; ssh-keygen makes no other size, and sshd takes no other.
        good = p.bit_length() == 1024 and q.bit_length() == 160 and p % 2 == 1 and 1 < g < p and 1 < y < p
    else:
        good = False
    if not good:
        raise Refusal("the public key must be a whole DSA (1024), RSA (1024 to 16384) or Ed25519 key")


def _parts(raw: bytes) -> Iterator[bytes]:
    """Yield the length-prefixed strings (RFC 4251 section 5) that make up `raw`; raise Refusal if any is cut short."""
    while raw:
        length = struct.unpack(">I", raw[:4])[0] if len(raw) >= 4 else len(raw)
        if len(raw) < 4 + length:
            raise Refusal("the public key is damaged: it is cut short")
        yield raw[4 : 4 + length]
        raw = raw[4 + length :]


def _number(raw: bytes) -> int:
    """Return the mpint (RFC 4251 section 5) in `raw`, or 0, which no check accepts, for one that sshd would refuse."""
    number = int.from_bytes(raw, "big", signed=True)
    shortest = number > 0 and len(raw) == number.bit_length() // 8 + 1
    return number if shortest else 0
