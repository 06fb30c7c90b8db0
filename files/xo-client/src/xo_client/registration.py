# SPDX-License-Identifier: GPL-3.0-or-later
"""Register this laptop with the school server: the call that Sugar makes (PROTOCOL.md section 2), with a key of today.

What Sugar keeps of a registration is kept in the same settings, so its menu reads "Register again" afterwards and its
collaboration finds the server. Who registers, the menu or the timer, makes no difference.
"""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import tempfile
import uuid
import xmlrpc.client
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from xo_client import browse_cookie, serials, sugar, words
from xo_client.connection import Connection
from xo_client.errors import Trouble, own_disk
from xo_client.state import State

HOST = "schoolserver"  # the name of every school server in its own network (PROTOCOL.md section 1)
PORT = 8080
RECORD = "registered"
_SECONDS = 15.0  # Sugar waits 8; a server under load may take longer. Twice this is less than the menu waits
_LONGEST = 200  # characters of the server's words that are shown
_LONGEST_ANSWER = 65536  # bytes; a school server's has a thousand
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.]{0,31}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,253}[A-Za-z0-9])?", re.ASCII)


class Registered(NamedTuple):
    """Where this laptop's backups go."""

    login: str
    host: str


def registered(state: State) -> Registered | None:
    """Return where this laptop is registered with the client's own key; None where it is not."""
    record = state.read(RECORD)
    login, host = str(record.get("login", "")), str(record.get("host", ""))
    return Registered(login, host) if _LOGIN.fullmatch(login) and _HOST.fullmatch(host) and state.key.exists() else None


def host(state: State) -> str:
    """Return the name of the school server that this laptop means."""
    known = registered(state)
    return known.host if known else sugar.host_in(sugar.setting("backup-url")) or HOST


@own_disk()
def register(state: State, *, asked: bool) -> Registered:
    """Register and return where backups go; raise Trouble.

    `asked` says that a person chose Register: only a person may turn to another server than the one known so far.
    """
    known = registered(state)
    serial, machine = _identity(state)
    key = _key(state)
    facts = (serial, sugar.nick(), machine, key)
    try:
        answer = _call(host(state), *facts)
    except Trouble as trouble:
        if not (asked and trouble.reason == "away" and host(state) != HOST):
            raise
        answer = _call(HOST, *facts)  # the child is at another school now
    if answer.get("success") != "OK":
        said = words.shown(_text(answer, "error"))[:_LONGEST]
        raise Trouble("refused", f"The school server said: {said}" if said else "")
    url = _text(answer, "backupurl")
    made = Registered(sugar.login_in(url), sugar.host_in(url))
    if not (_LOGIN.fullmatch(made.login) and _HOST.fullmatch(made.host)):
        raise Trouble("refused")
    if known and not asked and made != known:
        # Any network's schoolserver can forget us over HTTP and name another host, or a classmate's login: for ever.
        raise Trouble("stranger")
    if asked:
        state.known_hosts.unlink(missing_ok=True)
    state.write(RECORD, {"login": made.login, "host": made.host, "serial": serial, "uuid": machine})
    chat = _text(answer, "jabberserver")
    if _HOST.fullmatch(chat):
        sugar.set_setting("jabber-server", chat, sugar.COLLABORATION)
    sugar.set_setting("backup-url", url)
    browse_cookie.bake(state.profile, key)
    return made


def _text(answer: dict[str, Any], name: str) -> str:
    """Return a text of the server's answer, "" where it has none: an array in an array in … has no end as a text."""
    value = answer.get(name)
    return value if isinstance(value, str) else ""


def _identity(state: State) -> tuple[str, str]:
    """Return the serial and uuid to register with: what this laptop was called before goes on, so that a teacher (or
    the setting xs_rekey) knows it again.
    """
    record = state.read(RECORD)
    before = str(record.get("serial", "")), str(record.get("uuid", ""))
    serial, machine = before if serials.XO.fullmatch(before[0]) else _sugars_own(state.profile)
    serial = serial or serials.this_machine()
    if not serials.XO.fullmatch(serial):
        raise Trouble("refused", "This laptop has no serial. Please tell your teacher (/etc/xo-client/serial).")
    return serial, machine or str(uuid.uuid5(uuid.NAMESPACE_DNS, serial))


def _sugars_own(profile: Path) -> tuple[str, str]:
    """Return serial and uuid of Sugar's own registration, "" without one: it makes them up, and keeps them."""
    if not sugar.setting("backup-url"):
        return "", ""
    try:
        serial, machine = (
            (profile / "identifiers" / name).read_text(encoding="ascii", errors="replace").strip()
            for name in ("sn", "uuid")
        )
    except OSError:
        return "", ""
    real = serials.XO.fullmatch(serial) and serial != serials.NOBODY and _UUID.fullmatch(machine)
    return (serial, machine) if real else ("", "")


def _key(state: State) -> str:
    """Return the public key as every server takes it: its base64 body alone. Make the pair where it is not whole: a
    power cut can leave either file empty. Raise Trouble (disk).
    """
    state.make()
    with own_disk():
        public = _public_of(state.key)
        if not public:
            _make_key(state.key)
            public = _public_of(state.key)
        if not public:
            raise Trouble("disk")
        beside = state.key.with_suffix(".pub")  # ssh offers what stands in it, whatever the private one is
        if not beside.exists() or public not in beside.read_text(encoding="ascii", errors="replace").split():
            _write(beside, f"ssh-ed25519 {public}\n".encode())
    return public


def _public_of(key: Path) -> str:
    """Return the public key of the private `key`, "" where that is none."""
    with suppress(FileNotFoundError):
        key.chmod(0o600)  # ssh-keygen takes no other, and a key that is only copied badly is still a key
    ended = subprocess.run(
        ["ssh-keygen", "-y", "-P", "", "-f", str(key)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    words = ended.stdout.decode("ascii", "replace").split()
    return words[1] if ended.returncode == 0 and len(words) > 1 else ""


def _make_key(key: Path) -> None:
    with tempfile.TemporaryDirectory(dir=str(key.parent)) as folder:
        made = Path(folder) / key.name
        ended = subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(made)],
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if ended.returncode:
            raise Trouble("disk")
        if key.exists():
            os.replace(key, key.with_suffix(".broken"))
        _write(key, made.read_bytes())


def _write(path: Path, content: bytes) -> None:
    """Write `path`, readable by its owner alone, whole or not at all even if the power goes; raise OSError."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


class _Transport(xmlrpc.client.Transport):
    """HTTP that gives up, and reads no more than a school server has to say."""

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return Connection(host, timeout=_SECONDS)

    def parse_response(self, response: http.client.HTTPResponse) -> tuple[Any, ...]:
        body = response.read(_LONGEST_ANSWER + 1)
        # Entities of entities grow a short text without end, and expat before 2.4 (Debian 11) lets them.
        if len(body) > _LONGEST_ANSWER or b"<!" in body:
            raise ValueError("no answer of a school server")
        parser, target = self.getparser()
        parser.feed(body)
        parser.close()
        return target.close()


def _call(target: str, *arguments: str) -> dict[str, Any]:
    server = xmlrpc.client.ServerProxy(f"http://{target}:{PORT}/", _Transport())
    try:
        answer = server.register(*arguments)
    except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
        raise Trouble("away") from error
    except Exception as error:  # what is no XML-RPC makes its reader raise almost anything: it is not our server
        raise Trouble("trouble") from error
    return answer if isinstance(answer, dict) else {}
