# SPDX-License-Identifier: GPL-3.0-or-later
"""register() over real HTTP, as old laptops call it and as hostile ones do."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
import time
import xmlrpc.client
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import laptops
from laptops import JIM, UUID
from schoolserver import local_server, registration
from schoolserver.errors import Refusal
from schoolserver.local_socket import Message
from schoolserver.registration import Registration, parse

ARGUMENTS = (JIM, "जिम", UUID, laptops.dsa())
CALL = xmlrpc.client.dumps(ARGUMENTS, "register").encode()


class Server:
    """Registration on a port of this machine, with a registrar that notes what it is asked."""

    def __init__(self, directory: Path) -> None:
        self.asked: list[Message] = []
        self.reply: Message = {"ok": True, "login": JIM, "tree": JIM}
        self.registrar = socket.socket(socket.AF_UNIX)
        self.registrar.bind(str(directory / "registrar"))
        self.registrar.listen()
        threading.Thread(target=local_server.serve, args=(self.registrar, self._answer), daemon=True).start()
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        application = Registration("schoolserver", directory / "registrar")
        threading.Thread(target=registration.server(application, listener).run, daemon=True).start()

    def _answer(self, request: Message, uid: int) -> Message:
        self.asked.append(request)
        if "error" in self.reply:
            raise Refusal(self.reply["error"])
        return self.reply

    def post(self, body: bytes, path: str = "/", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest.mark.parametrize("path", ["/", "/RPC2"])
def test_a_laptop_registers_and_is_told_where_to_back_up(server: Server, path: str) -> None:
    proxy = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{server.port}{path}")
    assert proxy.register(*ARGUMENTS) == {
        "success": "OK",
        "jabberserver": "schoolserver",
        "backupurl": f"{JIM}@schoolserver:backup",
        "backuppath": "backup",
    }
    serial, nick, uuid, pubkey = ARGUMENTS
    sent = {"serial": serial, "nick": nick, "uuid": uuid, "pubkey": pubkey}
    assert server.asked == [{"op": "register", **sent, "address": "127.0.0.1"}]


def test_a_refusal_is_a_struct_that_the_laptop_understands(server: Server) -> None:
    server.reply = {"error": "the serial must be another"}
    proxy = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{server.port}/")
    assert proxy.register(*ARGUMENTS) == {"success": "ERR", "error": "the serial must be another"}


def test_without_a_registrar_the_laptop_is_asked_to_come_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "_REGISTRAR_SECONDS", 0.2)
    arguments = dict.fromkeys(("serial", "nick", "uuid", "pubkey"), "")
    answer = Registration("schoolserver", Path("/nowhere")).register(arguments)
    assert answer == {"success": "ERR", "error": "the school server is busy: try again in a few minutes"}


def call(method: str = "register", values: str = "", before: str = "") -> bytes:
    body = f"<methodName>{method}</methodName><params>{values}</params>"
    return f"<?xml version='1.0'?>{before}<methodCall>{body}</methodCall>".encode()


FOUR = "<param><value><string>x</string></value></param>" * 4
BOMB = (
    "<!DOCTYPE b [<!ENTITY a 'aaaaaaaaaa'>"
    + "".join(f"<!ENTITY {chr(98 + n)} '{('&' + chr(97 + n) + ';') * 10}'>" for n in range(9))
    + "]>"
)
HOSTILE = {
    "nothing": b"",
    "no xml": b"register",
    "half": CALL[:200],
    "three arguments": xmlrpc.client.dumps(ARGUMENTS[:3], "register").encode(),
    "five arguments": xmlrpc.client.dumps((*ARGUMENTS, "x"), "register").encode(),
    "no arguments": call(),
    "another method": xmlrpc.client.dumps(ARGUMENTS, "unregister").encode(),
    "introspection": call("system.listMethods"),
    "multicall": xmlrpc.client.dumps(([{"methodName": "register"}],), "system.multicall").encode(),
    "a number": xmlrpc.client.dumps((1, "x", "x", "x"), "register").encode(),
    "a list": xmlrpc.client.dumps((["x"], "x", "x", "x"), "register").encode(),
    "a struct": xmlrpc.client.dumps(({"x": "y"}, "x", "x", "x"), "register").encode(),
    "binary": xmlrpc.client.dumps((xmlrpc.client.Binary(b"x"), "x", "x", "x"), "register").encode(),
    "nothing as value": call(values=FOUR[:-48] + "<param><value><nil/></value></param>"),
    "a tag in a string": call(values=FOUR[:-48] + "<param><value><string><b>x</b></string></value></param>"),
    "two values in one": call(values=FOUR[:-48] + "<param><value><string>x</string><string>y</string></value></param>"),
    "a bomb": call(values=FOUR.replace(">x<", ">&j;<"), before=BOMB),
    "a file": call(
        values=FOUR.replace(">x<", ">&f;<"), before="<!DOCTYPE f [<!ENTITY f SYSTEM 'file:///etc/passwd'>]>"
    ),
    "a dtd": call(values=FOUR, before="<!DOCTYPE methodCall SYSTEM 'http://127.0.0.1/x.dtd'>"),
    "a response": xmlrpc.client.dumps(("x",), methodresponse=True).encode(),
    "a fault": xmlrpc.client.dumps(xmlrpc.client.Fault(1, "x")).encode(),
    "an unknown encoding": CALL.replace(b"?>", b" encoding='x-unknown'?>"),
    "utf-7": CALL.replace(b"?>", b" encoding='utf-7'?>"),
    "deep": b"<methodCall>" + b"<x>" * 2000 + b"</x>" * 2000 + b"</methodCall>",
    "zero bytes": b"\0" * 1000,
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_anything_but_the_one_call_is_a_fault_in_one_line_and_reaches_nobody(server: Server, body: bytes) -> None:
    status, answer = server.post(body)
    assert status == 200
    with pytest.raises(xmlrpc.client.Fault, match="this server understands register") as fault:
        xmlrpc.client.loads(answer)
    assert "\n" not in fault.value.faultString
    assert server.asked == []


@pytest.mark.parametrize(
    ("body", "path", "headers", "status"),
    [
        (CALL, "/other", {}, 404),
        (CALL, "/RPC2/", {}, 404),
        (CALL, "/RPC2/../etc/passwd", {}, 404),
        (b" " * (registration.LONGEST + 1), "/", {}, 413),
        (gzip.compress(CALL), "/", {"Content_Encoding": "gzip"}, 415),
        (CALL, "/", {"Content_Encoding": "x"}, 415),
    ],
)
def test_other_paths_large_and_compressed_bodies_are_refused(
    server: Server, body: bytes, path: str, headers: dict[str, str], status: int
) -> None:
    assert server.post(body, path, **headers)[0] == status
    assert server.asked == []


def test_other_methods_are_refused(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", "/")
    assert connection.getresponse().status == 405


def test_a_bomb_costs_no_time(server: Server) -> None:
    started = time.monotonic()
    server.post(HOSTILE["a bomb"])
    assert time.monotonic() - started < 1


def test_laptops_that_never_finish_their_request_stop_nobody(server: Server) -> None:
    slow = []
    for _ in range(20):
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n<")
        slow.append(connection)
    proxy = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{server.port}/")
    assert "'OK'" in str(proxy.register(*ARGUMENTS))
    for connection in slow:
        connection.close()


def test_the_log_shows_neither_key_nor_escape_sequences(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    proxy = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{server.port}/")
    proxy.register("SHC\u202e\n12345678", "\u009b", UUID, laptops.dsa())
    log = capsys.readouterr().out
    assert log.isascii()
    assert log.count("\n") == 1
    assert laptops.dsa()[:20] not in log


# What XML can carry; a line break, which XML may change, apart.
SENT = st.characters(min_codepoint=32, exclude_categories=["Cs"], exclude_characters="\x7f\ufffe\uffff")


@given(st.text(alphabet=SENT))
def test_any_text_arrives_as_it_was_sent(text: str) -> None:
    body = xmlrpc.client.dumps((text, "", text, "x"), "register").encode()
    assert parse(body) == {"serial": text, "nick": "", "uuid": text, "pubkey": "x"}


@given(st.binary(max_size=300))
def test_any_bytes_are_a_call_or_a_refusal(body: bytes) -> None:
    with pytest.raises(Refusal):
        parse(body)


def test_a_bare_value_is_a_string_too() -> None:
    body = call(values="<param><value>x</value></param>" * 4)
    assert parse(body) == dict.fromkeys(("serial", "nick", "uuid", "pubkey"), "x")
