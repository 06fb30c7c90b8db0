# SPDX-License-Identifier: GPL-3.0-or-later
"""The client registers as Sugar does, and keeps what Sugar keeps."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

import pytest

from xo_client import registration, serials, sugar
from xo_client.errors import Trouble
from xo_client.state import State


class AnyPath(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/", "/RPC2")


class School:
    """A registration service that says what a test wants it to say."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.answer: dict[str, Any] = {
            "success": "OK", "jabberserver": "schoolserver", "backupurl": "XOL00000012@127.0.0.1:backup"
        }  # fmt: skip
        self.server = SimpleXMLRPCServer(("127.0.0.1", 0), AnyPath, logRequests=False, allow_none=True)
        self.server.register_function(self.register)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def register(self, *words: str) -> dict[str, Any]:
        self.asked.append(words)
        return self.answer


@pytest.fixture
def school(monkeypatch: pytest.MonkeyPatch) -> Iterator[School]:
    made = School()
    monkeypatch.setattr(registration, "PORT", made.server.server_address[1])
    monkeypatch.setattr(registration, "HOST", "127.0.0.1")
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Sugar's settings, which need a session of Sugar's; the scenario `laptop` has a real one."""
    kept = {"nick": "Jim", "color": "#FF2B34,#005FE4", "backup-url": "", "jabber-server": ""}
    monkeypatch.setattr(sugar, "setting", lambda key, schema="": kept[key])
    monkeypatch.setattr(sugar, "set_setting", lambda key, value, schema="": kept.update({key: value}))
    return kept


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    monkeypatch.setattr(serials, "this_machine", lambda: "XOL00000012")
    return State(tmp_path)


def test_it_registers_with_a_key_of_its_own_and_tells_sugar(
    school: School, settings: dict[str, str], state: State
) -> None:
    at = registration.register(state, asked=True)
    [(serial, nick, uuid, pubkey)] = school.asked
    assert (serial, nick) == ("XOL00000012", "Jim")
    assert pubkey.startswith("AAAAC3NzaC1lZDI1NTE5")
    assert uuid != "00000000-0000-0000-0000-000000000000"
    assert (at.login, at.host) == ("XOL00000012", "127.0.0.1")
    assert registration.registered(state) == at
    assert settings["backup-url"] == "XOL00000012@127.0.0.1:backup"
    assert settings["jabber-server"] == "schoolserver"
    assert state.key.stat().st_mode & 0o777 == 0o600


def test_again_it_is_the_same_laptop(school: School, settings: dict[str, str], state: State) -> None:
    registration.register(state, asked=True)
    registration.register(state, asked=False)
    assert school.asked[0] == school.asked[1]


SUGARS_UUID = "4f0c1a52-9f0e-11ee-8c90-0242ac120002"


def sugar_registered(profile: Path, settings: dict[str, str], serial: str) -> None:
    settings["backup-url"] = f"{serial}@127.0.0.1:backup"
    (profile / "identifiers").mkdir()
    (profile / "identifiers" / "sn").write_text(serial)
    (profile / "identifiers" / "uuid").write_text(SUGARS_UUID)


def test_a_laptop_that_sugar_registered_keeps_that_name_for_ever(
    school: School, settings: dict[str, str], state: State, tmp_path: Path
) -> None:
    sugar_registered(tmp_path, settings, "ABC12345678")
    for _ in range(2):
        registration.register(state, asked=False)
        assert (school.asked[-1][0], school.asked[-1][2]) == ("ABC12345678", SUGARS_UUID)
        shutil.rmtree(tmp_path / "identifiers", ignore_errors=True)


def test_the_serial_of_nobody_is_not_kept(
    school: School, settings: dict[str, str], state: State, tmp_path: Path
) -> None:
    sugar_registered(tmp_path, settings, serials.NOBODY)
    registration.register(state, asked=False)
    assert school.asked[0][0] == "XOL00000012"


def test_a_refusal_is_told_in_the_servers_words(school: School, settings: dict[str, str], state: State) -> None:
    school.answer = {"success": "ERR", "error": "this school takes\nno new laptops"}
    with pytest.raises(Trouble, match="this school takes no new laptops") as caught:
        registration.register(state, asked=True)
    assert caught.value.reason == "refused"
    assert registration.registered(state) is None
    assert settings["backup-url"] == ""


@pytest.mark.parametrize("url", ["", "nobody", "-oProxyCommand=x@host:backup", "a b@host:backup", "x@-host:backup"])
def test_a_backup_url_that_is_none_is_not_kept(
    school: School, settings: dict[str, str], state: State, url: str
) -> None:
    school.answer["backupurl"] = url
    with pytest.raises(Trouble):
        registration.register(state, asked=True)
    assert registration.registered(state) is None


_HEAD = b"<?xml version='1.0'?>"
_ENTITIES = b"<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>]>"
_DEEP = b"<value><array><data>" * 1400 + b"</data></array></value>" * 1400
_OK = (
    b"<methodResponse><params><param><value><struct><member><name>success</name><value>OK</value></member><member>"
    b"<name>backupurl</name><value>XOL00000012@127.0.0.1:backup</value></member></struct></value></param></params>"
    b"</methodResponse>"
)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "trouble"), (b"hello", "trouble"), (_HEAD + b"</value>", "trouble"),
        (b"<?xml version='1.0' encoding='zzz'?><a/>", "trouble"),
        (b"<methodResponse><fault><value>x</value></fault></methodResponse>", "trouble"),
        (b"<methodResponse><params><param>" + _DEEP + b"</param></params></methodResponse>", "refused"),
        (_OK.replace(b">OK<", b">ERR<").replace(b">backupurl<", b">error<").replace(
            b"<value>XOL00000012@127.0.0.1:backup</value>", _DEEP), "refused"),
        (_HEAD + _ENTITIES + _OK, "trouble"),
        (_OK + b" " * 200_000, "trouble"),
    ],
)  # fmt: skip
def test_what_is_no_answer_of_a_school_server_is_survived(
    settings: dict[str, str], state: State, monkeypatch: pytest.MonkeyPatch, body: bytes, reason: str
) -> None:
    class Says(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Says) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        monkeypatch.setattr(registration, "PORT", http.server_address[1])
        monkeypatch.setattr(registration, "HOST", "127.0.0.1")
        with pytest.raises(Trouble) as caught:
            registration.register(state, asked=True)
        http.shutdown()
    assert caught.value.reason == reason
    assert len(caught.value.message) < 400
    assert registration.registered(state) is None


def test_nobody_there_means_not_at_school(settings: dict[str, str], state: State, monkeypatch: Any) -> None:
    monkeypatch.setattr(registration, "HOST", "127.0.0.1")
    monkeypatch.setattr(registration, "PORT", 1)
    with pytest.raises(Trouble) as caught:
        registration.register(state, asked=True)
    assert caught.value.reason == "away"


def test_only_a_person_turns_to_another_server(school: School, settings: dict[str, str], state: State) -> None:
    registration.register(state, asked=True)
    state.known_hosts.write_text("xs-school-server ssh-ed25519 AAAA\n")
    registration.register(state, asked=False)
    assert state.known_hosts.exists()
    registration.register(state, asked=True)
    assert not state.known_hosts.exists()


@pytest.mark.parametrize("where", ["XOL00000012@elsewhere", "XOL00000013@127.0.0.1"])
def test_a_network_with_another_schoolserver_in_it_turns_nothing_over(
    school: School, settings: dict[str, str], state: State, where: str
) -> None:
    at = registration.register(state, asked=True)
    school.answer.update(backupurl=f"{where}:backup", jabberserver="elsewhere")
    with pytest.raises(Trouble) as caught:
        registration.register(state, asked=False)
    assert caught.value.reason == "stranger"
    assert registration.registered(state) == at
    assert (settings["backup-url"], settings["jabber-server"]) == ("XOL00000012@127.0.0.1:backup", "schoolserver")


def test_a_person_registers_again_where_the_known_server_is_gone(
    school: School, settings: dict[str, str], state: State
) -> None:
    registration.register(state, asked=True)
    record = state.read(registration.RECORD)
    state.write(registration.RECORD, {**record, "host": "gone.invalid"})
    with pytest.raises(Trouble) as caught:
        registration.register(state, asked=False)
    assert caught.value.reason == "away"
    assert registration.register(state, asked=True).host == "127.0.0.1"


@pytest.mark.parametrize("host", ["", "-x", "a b", "x" * 300])
def test_a_chat_server_that_is_none_is_not_kept(
    school: School, settings: dict[str, str], state: State, host: str
) -> None:
    settings["jabber-server"] = "before"
    school.answer["jabberserver"] = host
    registration.register(state, asked=True)
    assert settings["jabber-server"] == "before"


def test_browse_finds_the_cookie_that_it_would_crash_over(
    school: School, settings: dict[str, str], state: State, tmp_path: Path
) -> None:
    for _ in range(2):
        registration.register(state, asked=True)
    store = tmp_path / "org.laptop.WebActivity/data/gecko/cookies.sqlite"
    [(name, value, host)] = sqlite3.connect(store).execute("SELECT name, value, host FROM moz_cookies").fetchall()
    assert (name, host) == ("xoid", "schoolserver")
    assert set(json.loads(value)) == {"color", "pkey_hash"}


def test_where_sugar_was_never_used_it_says_so(settings: dict[str, str], state: State, tmp_path: Path) -> None:
    with pytest.raises(Trouble) as caught:
        registration.register(State(tmp_path / "default"), asked=True)
    assert caught.value.reason == "profile"


def of(key: Path) -> str:
    made = subprocess.run(["ssh-keygen", "-y", "-f", str(key)], capture_output=True, text=True, check=True)
    return made.stdout.split()[1]


def test_a_public_key_that_is_lost_is_made_of_the_private_one(
    school: School, settings: dict[str, str], state: State
) -> None:
    registration.register(state, asked=True)
    before = state.key.read_bytes()
    for broken in (None, b"", b"ssh-ed25519 AAAA else\n"):
        state.key.chmod(0o644)
        public = state.key.with_suffix(".pub")
        public.unlink()
        if broken is not None:
            public.write_bytes(broken)
        registration.register(state, asked=True)
        assert state.key.read_bytes() == before
        assert school.asked[-1][3] == school.asked[0][3] == of(state.key)
        assert public.read_text().split()[1] == school.asked[0][3]


@pytest.mark.parametrize("left", [b"", b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn"])
def test_a_key_that_a_power_cut_broke_is_made_anew(
    school: School, settings: dict[str, str], state: State, left: bytes
) -> None:
    registration.register(state, asked=True)
    state.key.write_bytes(left)
    registration.register(state, asked=True)
    assert school.asked[1][3] != school.asked[0][3]
    assert school.asked[1][3] == of(state.key)
    assert state.key.with_suffix(".broken").read_bytes() == left
