# SPDX-License-Identifier: GPL-3.0-or-later
"""register(serial, nick, uuid, pubkey) over XML-RPC on port 8080 (PROTOCOL.md section 2).

It understands that one call and nothing else of XML-RPC, decides nothing, and can write nothing: the registrar
behind it checks everything again.
"""

from __future__ import annotations

import socket
import sys
import xmlrpc.client
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import defusedxml.ElementTree
from defusedxml import DefusedXmlException
from waitress.server import create_server

from schoolserver import local_server, local_socket, paths, settings
from schoolserver.errors import Refusal

LONGEST = 16 * 1024  # bytes of a request; the largest key that is accepted takes 3 kB
_REGISTRAR_SECONDS = 7.0  # the client gives up after 8
_FIELDS = ("serial", "nick", "uuid", "pubkey")
_PATHS = ("/", "/RPC2")
_UNDERSTOOD = "this server understands register(serial, nick, uuid, pubkey), four strings, and nothing else"
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Registration:
    """The WSGI application."""

    def __init__(self, host: str, registrar: Path) -> None:
        self._host = host  # the name that laptops are told to back up to
        self._registrar = registrar

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one HTTP request."""
        status, body = self._answer(environ)
        start_response(status, [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
        return [body]

    def _answer(self, environ: dict[str, Any]) -> tuple[str, bytes]:
        if environ["PATH_INFO"] not in _PATHS:
            return "404 Not Found", b""
        if environ["REQUEST_METHOD"] != "POST":
            return "405 Method Not Allowed", b""
        if environ.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
            return "415 Unsupported Media Type", b""  # a compressed body of 16 kB can hold 16 MB
        length = environ.get("CONTENT_LENGTH") or ""
        if not length.isdecimal():
            return "411 Length Required", b""
        if int(length) > LONGEST:
            return "413 Request Entity Too Large", b""
        try:
            arguments = parse(environ["wsgi.input"].read(int(length)))
        except Refusal as refusal:
            return "200 OK", _encode(xmlrpc.client.Fault(400, str(refusal)))
        answer = self.register(arguments, str(environ.get("REMOTE_ADDR", "")))
        outcome = answer["error"] if "error" in answer else f"OK, {answer['backupurl']}"
        print(f"{environ.get('REMOTE_ADDR')}: register {arguments['serial'][:40]!a}: {outcome}", flush=True)
        return "200 OK", _encode((answer,))

    def register(self, arguments: dict[str, str], address: str = "") -> dict[str, str]:
        """Pass `arguments` from the network address `address` on and return the struct that answers the laptop."""
        message = {"op": "register", **arguments, "address": address}
        try:
            reply = local_socket.ask(self._registrar, message, _REGISTRAR_SECONDS)
        except OSError as error:
            print(f"the registrar did not answer: {error}", file=sys.stderr, flush=True)
            return {"success": "ERR", "error": "the school server is busy: try again in a few minutes"}
        if not reply.get("ok"):
            return {"success": "ERR", "error": str(reply.get("error"))}
        return {
            "success": "OK",
            "jabberserver": self._host,
            "backupurl": f"{reply['login']}@{self._host}:backup",
            "backuppath": "backup",
        }


def parse(body: bytes) -> dict[str, str]:
    """Return the four arguments in the XML-RPC call `body`; raise Refusal for anything else."""
    try:
        # No DTD: entities are how a small document becomes gigabytes, or contains the server's files.
        call = defusedxml.ElementTree.fromstring(body, forbid_dtd=True)
    except (DefusedXmlException, defusedxml.ElementTree.ParseError, ValueError, LookupError) as error:
        raise Refusal(_UNDERSTOOD) from error
    values = call.findall("params/param/value")
    if (
        call.tag != "methodCall"
        or (call.findtext("methodName") or "").strip() != "register"
        or len(values) != len(_FIELDS)
    ):
        raise Refusal(_UNDERSTOOD)
    return dict(zip(_FIELDS, map(_string, values), strict=True))


def _string(value: Any) -> str:
    # <value>text</value> is a string too (xmlrpc.com/spec).
    if len(value) == 0:
        return value.text or ""
    inner = value[0]
    if len(value) > 1 or inner.tag != "string" or len(inner):
        raise Refusal(_UNDERSTOOD)
    return inner.text or ""


def _encode(answer: Any) -> bytes:
    return xmlrpc.client.dumps(answer, methodresponse=True).encode()


def server(application: Registration, listener: socket.socket) -> Any:
    """Return the HTTP server, ready to run(), of `application` on `listener`."""
    return create_server(
        application,
        sockets=[listener],
        threads=40,  # they only wait for the registrar, which answers those that wait together in one go
        ident=None,
        clear_untrusted_proxy_headers=True,
        max_request_body_size=LONGEST,
        max_request_header_size=8 * 1024,
        channel_timeout=20,  # a laptop that says nothing frees its connection
        connection_limit=500,
    )


def main() -> int:
    """Serve on the socket that systemd passed, for ever."""
    try:
        listener = local_server.inherited("registration")
        host = settings.load("registration").host
    except Refusal as error:
        print(f"xs-registration: {error}", file=sys.stderr)
        return 1
    server(Registration(host, paths.SOCKETS / "registrar"), listener).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
