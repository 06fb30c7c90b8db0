# SPDX-License-Identifier: GPL-3.0-or-later
"""What a laptop says about itself, from honest ones and from hostile ones."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import laptops
from schoolserver.errors import Refusal
from schoolserver.identity import check_nick, check_serial, check_uuid, parse_key

ANY_TEXT = st.text(max_size=60)


@pytest.mark.parametrize("serial", ["SHC12345678", "SHF0000000A", "CSN74700abc", "ABC00000000"])
def test_serials_of_laptops_in_the_field_are_taken(serial: str) -> None:
    assert check_serial(serial) == serial


@pytest.mark.parametrize(
    "serial",
    ["", "SHC1234567", "SHC123456789", "shc12345678", "SHC1234567\n", "SHC12345678\n", "../etc/passw", "-oProxyComma",
     "SHC 1234567", "SHC१२३४५६७८", "root", "SHC1234567\0", "SHC12345678.2"],
)  # fmt: skip
def test_what_could_be_a_path_an_option_or_two_lines_is_no_serial(serial: str) -> None:
    with pytest.raises(Refusal, match="three capital letters"):
        check_serial(serial)


def test_the_serial_that_every_board_claims_is_refused_with_the_way_out() -> None:
    with pytest.raises(Refusal, match="install the school's laptop package"):
        check_serial("SHF00000000")
    with pytest.raises(Refusal, match="install the school's laptop package"):
        check_uuid("00000000-0000-0000-0000-000000000000")


def test_a_uuid_is_one_in_either_case() -> None:
    assert check_uuid("ABCDEF01-2222-3333-4444-555555555555") == "abcdef01-2222-3333-4444-555555555555"
    for text in ("", "x", laptops.UUID + "\n", laptops.UUID.replace("-", ""), "{" + laptops.UUID + "}"):
        with pytest.raises(Refusal, match="uuid"):
            check_uuid(text)


@pytest.mark.parametrize("nick", ["Jim", "सीता", "නිමල්\u200dා", "محمد\u200cرضا", "Zoë ☕"])
def test_a_name_in_any_script_stays_as_it_is(nick: str) -> None:
    assert check_nick(nick) == nick


def test_a_nick_cannot_write_on_the_technicians_terminal() -> None:
    assert check_nick("  Jim\x1b[2J\r\nroot:x:0:0 \u202egnp.exe\x9b \ud800") == "Jim[2J root:x:0:0 gnp.exe"


@example("0\r\x1b 0")
@given(ANY_TEXT)
def test_any_nick_becomes_one_short_line_and_stays_it(nick: str) -> None:
    shown = check_nick(nick)
    assert len(shown) <= 80
    assert shown == "" or len(shown.splitlines()) == 1
    assert check_nick(shown) == shown
    shown.encode()


@pytest.mark.parametrize(
    ("text", "kind"),
    [(laptops.dsa(), "ssh-dss"), (laptops.rsa(), "ssh-rsa"), (laptops.rsa(bits=1024, exponent=35), "ssh-rsa"),
     (laptops.ed25519(), "ssh-ed25519")],
)  # fmt: skip
def test_a_key_is_taken_with_and_without_its_type_and_comment(text: str, kind: str) -> None:
    for written in (text, f"{kind} {text}", f"{kind} {text} olpc@xo", f"{kind} {text} a comment\n"):
        assert (parse_key(written).type, parse_key(written).blob) == (kind, text)


@pytest.mark.parametrize("options", [["dsa"], ["rsa", "-b", "1024"], ["rsa", "-b", "3072"], ["ed25519"]])
def test_what_ssh_keygen_makes_is_taken(options: list[str], tmp_path: Path) -> None:
    command = ["ssh-keygen", "-q", "-N", "", "-C", "", "-f", str(tmp_path / "key"), "-t", *options]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"this machine's ssh-keygen makes no {options[0]} key")
    kind, blob = (tmp_path / "key.pub").read_text().split()
    assert (parse_key(blob).type, parse_key(blob).blob) == (kind, blob)


def damaged_keys() -> dict[str, str]:
    good = laptops.dsa()
    raw = base64.b64decode(good)
    return {
        "empty": "",
        "no base64": "AAAA!",
        "cut short": base64.b64encode(raw[:-5]).decode(),
        "something after it": base64.b64encode(raw + b"x").decode(),
        "another field after it": base64.b64encode(raw + laptops.string(b"x")).decode(),
        "a second line": good + "\nssh-rsa AAAA",
        "a line break in the comment": f"ssh-dss {good} x\nssh-rsa AAAA",
        "a tab": good + "\tx",
        "options before it": f'command="sh" ssh-dss {good}',
        "another type before it": f"ssh-rsa {good}",
        "a letter that looks like one": good.replace("A", "\u0410", 1),
        "a short DSA key": laptops.dsa(bits=512),
        "a long DSA key": laptops.dsa(bits=2048),
        "a short RSA key": laptops.rsa(bits=768),
        "a huge RSA key": laptops.rsa(bits=16400),
        "an even exponent": laptops.rsa(exponent=4),
        "exponent one": laptops.rsa(exponent=1),
        "a short Ed25519 key": laptops.ed25519(length=31),
        "an unknown type": laptops.body(laptops.string(b"ssh-magic"), laptops.string(b"x" * 32)),
        "a type of two lines": laptops.body(laptops.string(b"ssh-ed25519\n"), laptops.string(b"x" * 32)),
        "a certificate": laptops.body(laptops.string(b"ssh-rsa-cert-v01@openssh.com"), laptops.string(b"x")),
        "a length of four gigabytes": base64.b64encode(b"\xff\xff\xff\xffssh-dss").decode(),
        "a negative number": laptops.body(laptops.string(b"ssh-rsa"), laptops.mpint(3), laptops.string(b"\x81" * 256)),
        "a padded number": laptops.body(
            laptops.string(b"ssh-rsa"), laptops.mpint(3), laptops.string(b"\0" * 9 + b"\1")
        ),
        "nothing but a type": laptops.body(laptops.string(b"ssh-dss")),
        "far too long": "A" * 100_000,
    }


@pytest.mark.parametrize("text", damaged_keys().values(), ids=damaged_keys().keys())
def test_a_damaged_or_hostile_key_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(Refusal, match=r"^the public key [^\n]*$"):
        parse_key(text)


@given(st.one_of(st.text(), st.binary().map(lambda raw: base64.b64encode(raw).decode())))
@example("ssh-dss")
def test_any_text_is_a_key_of_one_line_or_a_refusal(text: str) -> None:
    try:
        key = parse_key(text)
    except Refusal:
        return
    assert f"{key.type} {key.blob}".isprintable()
    assert base64.b64decode(key.blob).startswith(laptops.string(key.type.encode()))


@given(st.data())
def test_one_changed_byte_never_makes_another_kind_of_line(data: st.DataObject) -> None:
    raw = bytearray(base64.b64decode(laptops.dsa()))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        key = parse_key(base64.b64encode(raw).decode())
    except Refusal:
        return
    assert key.type == "ssh-dss"
