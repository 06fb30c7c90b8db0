# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a stranger sends is taken or refused in one line, and what is taken others read in the same way.

The inputs are what honest laptops send, damaged in ways that mean something to XML, base64, a key, a path or a shell.
They are the same in each run. `make soak` tries more than a million.
"""

from __future__ import annotations

import base64
import random
import re
import shutil
import string
import subprocess
import time
import unicodedata
import uuid
import xmlrpc.client
from collections.abc import Callable, Iterator
from typing import TypeVar
from xml.sax.saxutils import escape

import pytest

import laptops
from schoolserver import policy
from schoolserver.errors import Refusal
from schoolserver.identity import check_nick, check_serial, check_uuid, parse_key
from schoolserver.registration import LONGEST, parse

Given = TypeVar("Given")
Result = TypeVar("Result")

MOST_SECONDS = 0.5  # of processor time for one input
NAMES = (
    "SHC12345678",
    "CSN74700abc",
    "SHF00000000",
    laptops.UUID,
    "00000000-0000-0000-0000-000000000000",
    "Jim",
    "जिम",
)
# What means something to a path, a shell, an option, a key file or a terminal, and what only looks like a letter.
SIGNS = [
    *"\0\n\r\t /.-~$`;:'\"\\%=+#,@*?&<>|",
    "\r\n", "../", "..", "--", "$(id)", "\x1b[2J", "\x7f", "\x85", "\x9b", "\xa0", "\xad", "\u200c", "\u200d", "\u200e",
    "\u202e", "\u2028", "\u2029", "\ufeff", "\ufffe", "\ud800", "\udcff", "\U000e0001", "\U0001f600", "\u0410",
    "\u212a", "\u0130", "\uff21", "\u0967", "\U0001d7d8", "e\u0301", "\u0928\u093f", "\ufb03", "\u1e9e",
]  # fmt: skip


def tried(default: int, soak: int) -> pytest.MarkDecorator:
    """Give the test `default` inputs, and in `make soak` as many as `soak` says."""
    return pytest.mark.parametrize("inputs", [default, pytest.param(soak, marks=pytest.mark.soak)])


def made(make: Callable[[random.Random], Given], inputs: int) -> Iterator[Given]:
    """Yield `inputs` things that `make` makes, in each run the same ones."""
    chance = random.Random(make.__name__)
    for _ in range(inputs):
        yield make(chance)
    print(f"counted: {inputs} inputs")


def taken(check: Callable[[Given], Result], given: Given) -> Result | None:
    """Return what `check` makes of `given`, or None if it refuses it: in one line, in time, and by no other error."""
    started = time.process_time()
    try:
        result = check(given)
    except Refusal as refusal:
        assert str(refusal).isprintable(), given
        result = None
    except BaseException as error:
        error.add_note(f"given {given!r}")
        raise
    assert time.process_time() - started < MOST_SECONDS, given
    return result


# Making inputs.


def damaged(chance: random.Random, text: str) -> str:
    """Return `text` after a few edits, now and then none."""
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 6))):
        text = edited(chance, text)
    return text


def edited(chance: random.Random, text: str) -> str:
    """Return `text` with one sign put in or changed, or one stretch of it left out, doubled, turned about or moved."""
    at, to = sorted((chance.randrange(len(text) + 1), chance.randrange(len(text) + 1)))
    sign: str = chance.choice(SIGNS)
    match chance.randrange(9):
        case 0 | 1:
            return text[:at] + sign + text[at:]
        case 2:
            return text[:at] + sign + text[at + 1 :]
        case 3:
            return text[:at] + chr(chance.randrange(0x110000)) + text[at + 1 :]
        case 4:
            return text[:at] + chance.choice("Aa0f-") + text[at + 1 :]
        case 5:
            return text[:at] + text[to:]
        case 6:
            return text[:to] + text[at:]
        case 7:
            return text[:at] + text[at:to].swapcase() + text[to:]
        case _:
            return text[to:] + text[:to]


def some(chance: random.Random, letters: str, number: int) -> str:
    return "".join(chance.choices(letters, k=number))


def honest_serial(chance: random.Random) -> str:
    return some(chance, string.ascii_uppercase, 3) + some(chance, string.ascii_letters + string.digits, 8)


def serial(chance: random.Random) -> str:
    return damaged(chance, chance.choice((*[honest_serial(chance)] * len(NAMES), *NAMES)))


def honest_uuid(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128)))


def machine_uuid(chance: random.Random) -> str:
    good = honest_uuid(chance)
    return damaged(chance, chance.choice((good, good.upper(), good.replace("-", ""), f"{{{good}}}", *NAMES)))


def nick(chance: random.Random) -> str:
    anything = "".join(chr(chance.randrange(0x110000)) for _ in range(chance.randrange(100)))
    return damaged(chance, chance.choice((anything, "".join(chance.choices(SIGNS, k=chance.randrange(200))), *NAMES)))


def mpint(chance: random.Random, bits: int) -> bytes:
    """Return a number of that many bits as a key has it, now and then not in its one right form."""
    number = chance.getrandbits(bits) | 1 << bits - 1 | bool(chance.randrange(12))
    right = laptops.mpint(number)[4:]
    if chance.randrange(20):
        return right
    return chance.choice((right[1:], b"\0" + right, b"\xff" + right, b"", right[:-1], bytes(len(right))))


def blob(chance: random.Random) -> bytes:
    """Return a key as it stands in base64, or what is nearly one."""
    kinds = {
        b"ssh-dss": lambda: [mpint(chance, bits) for bits in (chance.choice((1024,) * 8 + (1023, 2048)), 160, 9, 999)],
        b"ssh-rsa": lambda: [
            mpint(chance, chance.choice((1, 2, 17, 17, 17, 33, 64, 65))),
            mpint(chance, chance.choice((1023, 1024, 1025, 2048, 2048, 3072, 4096, 16384, 16385))),
        ],
        b"ssh-ed25519": lambda: [chance.randbytes(chance.choice((32,) * 8 + (31, 33, 0)))],
    }  # fmt: skip
    kind = chance.choice(list(kinds))
    parts = [kind, *kinds[kind]()]
    match chance.randrange(20):
        case 0:
            chance.shuffle(parts)
        case 1:
            parts[chance.randrange(len(parts))] = chance.randbytes(chance.randrange(40))
        case 2:
            parts.append(chance.randbytes(chance.randrange(3)))
        case 3:
            parts.pop()
        case 4:
            parts[0] = damaged(chance, kind.decode()).encode("utf-8", "replace")
        case _:
            pass
    raw = bytearray(b"".join(map(laptops.string, parts)))
    if raw and not chance.randrange(6):
        at = chance.randrange(len(raw))
        raw[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    return bytes(raw)


def public_key(chance: random.Random) -> str:
    """Return a key as a laptop sends it: base64 alone, or a line of a key file; damaged half the time."""
    raw = blob(chance)
    written = base64.b64encode(raw).decode()
    kind = re.sub(rb"[^a-z0-9-].*", b"", raw[4:15], flags=re.DOTALL).decode()
    line = chance.choice((written, written, f"{kind} {written}", f"{kind} {written} olpc@xo", f" {written}\r\n"))
    match chance.randrange(20):
        case 0:
            line = f'command="sh",pty {line}'
        case 1:
            line = f"{line}\n{line}"
        case 2:
            line = base64.urlsafe_b64encode(raw).decode()
        case 3:
            line = line.rstrip("=")
        case 4:
            line = "\n".join(re.findall(".{1,70}", line))
        case _:
            pass
    return damaged(chance, line) if not chance.randrange(4) else line


PIECES = [
    b"<int>1</int>", b"<i4>1</i4>", b"<boolean>1</boolean>", b"<double>1</double>", b"<nil/>", b"<base64>eA==</base64>",
    b"<dateTime.iso8601>20261123T10:00:00</dateTime.iso8601>", b"<array><data><value>x</value></data></array>",
    b"<struct><member><name>x</name><value>y</value></member></struct>", b"<string>x</string>", b"<value>x</value>",
    b"<param><value>x</value></param>", b"<params/>", b"<string/>", b"<methodName>register</methodName>", b"<x>y</x>",
    b"<!-- x -->", b"<![CDATA[<x>]]>", b"<?x y?>", b"&amp;", b"&#65;", b"&#0;", b"&#xD800;", b"&#x202e;", b"&x;",
    b"&#13;", b"<!DOCTYPE x [<!ENTITY x 'y'>]>", b"<?xml version='1.1'?>", b"<x:value xmlns:x='y'/>", b" xmlns='x'",
    b" x='y'", b"\0", b"\r", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"]]>", b"<", b">", b"&", b"'",
]  # fmt: skip


def call(chance: random.Random) -> bytes:
    """Return register(…) as a client writes it, or what is nearly that."""
    fields = [chance.choice((serial, machine_uuid, nick, public_key))(chance) for _ in range(4)]
    sent = [re.sub(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", each) for each in fields]  # XML 1.0
    if chance.randrange(2):
        body = xmlrpc.client.dumps(tuple(sent), chance.choice(("register",) * 9 + ("registered",))).encode()
    else:  # no line breaks, some strings without their tag, all of which is legal
        values = "".join(
            f"<param><value>{chance.choice(('{}', '<string>{}</string>')).format(escape(each))}</value></param>"
            for each in sent
        )
        encoding = chance.choice(("utf-8", "utf-16", "iso-8859-1", "ascii"))
        head = f"<?xml version='1.0' encoding='{encoding}'?><methodCall><methodName>register</methodName>"
        body = f"{head}<params>{values}</params></methodCall>".encode(encoding, "xmlcharrefreplace")
    for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
        body = torn(chance, body)
    if not chance.randrange(10):
        body = body.replace(b"<methodCall>", b"<!DOCTYPE x [<!ENTITY x 'y'>]><methodCall>", 1)
    return body[:LONGEST]


def torn(chance: random.Random, body: bytes) -> bytes:
    """Return `body` with one tag, text or byte put in, left out, doubled or moved."""
    tokens = re.findall(rb"<[^>]*>|[^<]+|<", body) or [b""]
    at, other = chance.randrange(len(tokens)), chance.randrange(len(tokens))
    match chance.randrange(8):
        case 0 | 1:
            tokens.insert(at, chance.choice(PIECES))
        case 2:
            tokens[at] = chance.choice(PIECES)
        case 3:
            del tokens[at]
        case 4:
            tokens[at], tokens[other] = tokens[other], tokens[at]
        case 5:
            tokens[at] *= 2
        case 6:
            tokens[at] = tokens[at][: chance.randrange(len(tokens[at]) + 1)]
        case _:
            cut = chance.randrange(len(tokens[at]) + 1)
            tokens[at] = tokens[at][:cut] + chance.choice(PIECES) + tokens[at][cut:]
    return b"".join(tokens)


def whole_message(chance: random.Random) -> dict[str, object]:
    """Return what registration passes on, with one field or none that is not as it should be."""
    message: dict[str, object] = {
        "serial": honest_serial(chance), "nick": nick(chance), "uuid": honest_uuid(chance),
        "pubkey": laptops.dsa(chance.randrange(10**6)), "address": "172.18.0.77",
    }  # fmt: skip
    name, make = chance.choice((("serial", serial), ("uuid", machine_uuid), ("pubkey", public_key), ("nick", nick)))
    match chance.randrange(5):
        case 0:
            del message[name]
        case 1:
            message[name] = chance.choice((None, 1, 1.5, True, [], ["SHC12345678"], {"a": "b"}))
        case _:
            message[name] = make(chance)
    return message


# What must hold.


@tried(4_000, 200_000)
def test_a_call_that_is_taken_is_read_as_pythons_own_parser_reads_it(inputs: int) -> None:
    agreed = 0
    for body in made(call, inputs):
        arguments = taken(parse, body)
        if arguments is None:
            continue
        assert list(arguments) == ["serial", "nick", "uuid", "pubkey"]
        values, method = as_python_reads(body)
        if method == "register" and [type(value) for value in values] == [str] * 4:
            agreed += 1
            assert tuple(arguments.values()) == values, body
    assert agreed > inputs / 4


def as_python_reads(body: bytes) -> tuple[tuple[object, ...], str]:
    """Return the arguments and the name of the method in `body`, as all of XML-RPC has them; nothing if it is none."""
    try:
        values, method = xmlrpc.client.loads(body)
    except Exception:  # what it raises is its own business
        return (), ""
    return values, (method or "").strip()


@tried(5_000, 300_000)
def test_a_key_that_is_taken_is_one_line_and_ssh_takes_it_too(inputs: int) -> None:
    lines = []
    for text in made(public_key, inputs):
        key = taken(parse_key, text)
        if key is None:
            continue
        assert re.fullmatch(r"ssh-(dss|rsa|ed25519) [A-Za-z0-9+/]+={0,2}", f"{key.type} {key.blob}"), text
        assert key.blob in text, text
        lines.append(f"{key.type} {key.blob}")
    assert len(lines) > inputs / 10
    known = {line.split()[0] for line in (f"ssh-dss {laptops.dsa()}", f"ssh-rsa {laptops.rsa()}") if ssh_takes([line])}
    ours = [line for line in lines if line.split()[0] in {"ssh-ed25519", *known}]  # newer ones know no DSA
    assert ssh_takes(ours) == ours


def ssh_takes(lines: list[str]) -> list[str]:
    """Return those of `lines` that this machine's ssh can read as keys."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed: make setup")
    numbered = "".join(f"{line} {number}\n" for number, line in enumerate(lines))
    done = subprocess.run(["ssh-keygen", "-l", "-f", "-"], input=numbered, capture_output=True, text=True, check=False)
    return [lines[int(shown.split()[2])] for shown in done.stdout.splitlines()]


@tried(4_000, 200_000)
def test_a_serial_is_taken_if_and_only_if_it_has_the_one_shape(inputs: int) -> None:
    letters, all_signs = set(string.ascii_uppercase), set(string.ascii_letters + string.digits)
    both = set()
    for text in made(serial, inputs):
        right = len(text) == 11 and set(text[:3]) <= letters and set(text[3:]) <= all_signs and text != "SHF00000000"
        assert taken(check_serial, text) == (text if right else None), text
        both.add(right)
    assert both == {True, False}


@tried(2_000, 100_000)
def test_a_uuid_is_taken_if_and_only_if_it_is_written_as_uuids_are(inputs: int) -> None:
    both = set()
    for text in made(machine_uuid, inputs):
        try:
            right = str(uuid.UUID(text)) == text.lower() and uuid.UUID(text).int != 0
        except ValueError:
            right = False
        assert taken(check_uuid, text) == (text.lower() if right else None), text
        both.add(right)
    assert both == {True, False}


@tried(3_000, 150_000)
def test_a_nick_is_always_taken_and_becomes_one_short_visible_line(inputs: int) -> None:
    for text in made(nick, inputs):
        shown = taken(check_nick, text)
        assert shown is not None, text
        assert len(shown) <= 80, text
        assert not {unicodedata.category(c) for c in shown if c not in "\u200c\u200d"} & {
            "Cc", "Cf", "Cs", "Co", "Zl", "Zp",
        }, text  # fmt: skip
        assert check_nick(shown) == shown, text
        shown.encode()


@tried(3_000, 150_000)
def test_a_message_is_taken_if_and_only_if_each_of_its_fields_is(inputs: int) -> None:
    both = set()
    for message in made(whole_message, inputs):
        request = taken(policy.check, message)
        fields = [message.get(name) for name in ("serial", "uuid", "pubkey", "nick")]
        checks = (check_serial, check_uuid, parse_key, check_nick)
        each = [
            taken(check, field) if isinstance(field, str) else None for check, field in zip(checks, fields, strict=True)
        ]
        if request is None:
            assert None in each, message
        else:
            assert [request.serial, request.uuid, request.key, request.nick] == each, message
        both.add(request is None)
    assert both == {True, False}
