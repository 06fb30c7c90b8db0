# SPDX-License-Identifier: GPL-3.0-or-later
"""May I back up now? Answers laptops over HTTP behind nginx, and holds a place for each gate's session.

The HTTP side is PROTOCOL.md section 3; `places.py` has the state.
"""

from __future__ import annotations

import re
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from waitress.server import create_server

from schoolserver import local_server, local_socket, paths, registry, seen, settings
from schoolserver.allowance import used_percent
from schoolserver.errors import Refusal
from schoolserver.names import TREE
from schoolserver.places import Places

VERSIONS = ("1",)
_QUESTION = re.compile(r"/backup/(?P<version>[^/]+)/available/(?P<serial>[A-Za-z0-9]+)", re.ASCII)
_GATE_SECONDS = 2.0  # a gate sends its line at once, and the others wait meanwhile
_FULL_WAIT = 3600  # seconds; a person has to make room
_LONGEST_ADDRESS = 50  # characters of the longest IPv6 address with its interface
_LONGEST_CLIENT = 60  # characters of a client's name for itself
_A_LINE = 60.0  # seconds between two lines of the log for one reason: a laptop that asks in a loop must not fill it
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Permission:
    """The WSGI application, and the same state seen by gates."""

    def __init__(
        self, limits: settings.Accounts, registry_file: Path, users: Path, seen_file: Path | None = None
    ) -> None:
        self._limits = limits
        self._registry = registry_file
        self._users = users
        self._seen = seen_file
        self._clients: dict[str, str] = {}  # tree -> what its client called itself when it asked
        self._places = Places(limits.places, limits.lease_seconds)
        self._lock = threading.Lock()
        self._said: dict[str, tuple[float, int]] = {}  # reason -> when the log was told, and how often not since

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one HTTP request."""
        # nginx writes this header over whatever the laptop sent. (X-Forwarded-For does not get through waitress.)
        address = environ.get("HTTP_X_REAL_IP", "")
        client = environ.get("HTTP_USER_AGENT", "")
        status, headers, body = self.answer(environ["REQUEST_METHOD"], environ["PATH_INFO"], address, client)
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *headers])
        return [body]

    def answer(
        self, method: str, path: str, address: str = "", client: str = ""
    ) -> tuple[str, list[tuple[str, str]], bytes]:
        """Return status, headers and body for `method` on `path`, asked from the network address `address`."""
        question = _QUESTION.fullmatch(path)
        if question is None or question["version"] not in VERSIONS:
            return "404 Not Found", [], ("\n".join(VERSIONS) + "\n").encode()
        if method != "GET":  # a HEAD or a POST must not take a place
            return "405 Method Not Allowed", [("Allow", "GET")], b""
        serial = question["serial"]
        try:
            tree = registry.tree_of(serial, self._registry)
            retired = tree is not None and registry.is_retired(tree, self._registry)
        except Refusal as refusal:
            self._note("trouble", str(refusal))
            return _unavailable("trouble", _FULL_WAIT)
        if tree is None:
            self._note("unknown", f"{serial[:20]} is not registered")
            return "403 Forbidden", [("X-XS-Reason", "unknown")], b""
        if retired:
            self._note("retired", f"{serial} is in store")
            return "403 Forbidden", [("X-XS-Reason", "retired")], b""
        self._clients[tree] = client[:_LONGEST_CLIENT]
        if used_percent(str(self._users)) > self._limits.full_percent:
            self._note("full", f"{serial} was sent away: the disk is over {self._limits.full_percent} % full")
            return _unavailable("full", _FULL_WAIT)
        with self._lock:
            now = time.monotonic()
            if self._places.grant(tree, address, now):
                return "200 OK", [], b""
            seconds = self._places.retry_after(now)
        self._note("busy", f"{serial} at {address or 'an unknown address'} was told to ask again in {seconds} s")
        return _unavailable("busy", seconds)

    def seat(self, request: local_socket.Message, uid: int) -> local_socket.Message:
        """Answer the gate of a session that runs as `uid`: whether it has a place now; raise Refusal."""
        tree = request.get("tree")
        # Else a learner could take and free the places of others.
        if not isinstance(tree, str) or not TREE.fullmatch(tree) or registry.uid_of(tree, self._registry) != uid:
            raise Refusal("the school server does not know this laptop any more: register it again")
        address = _address_in(request)
        # Only a further tree, <serial>.2, is asked for under another's name.
        serial, further, _ = tree.partition(".")
        asked = registry.tree_of(serial, self._registry) if further else None
        with self._lock:
            now = time.monotonic()
            if asked:
                self._places.hand_over(asked, tree, address)
            if self._places.hold(tree, address, now):
                self._write_seen(tree, address)
                return {"ok": True, "limits": asdict(self._limits)}
            seconds = self._places.retry_after(now)
        self._note("busy", f"a session of {tree} was told to come back in {seconds} s")
        return {"ok": False, "error": f"the school server is busy: try again in {seconds} s", "retry_after": seconds}

    def _write_seen(self, tree: str, address: str) -> None:
        try:
            if self._seen:
                seen.note(self._seen, tree, address, self._clients.get(tree, ""), datetime.now(UTC))
        except OSError as error:  # no backup depends on it
            self._note_locked("seen", f"{self._seen}: {error}")

    def leave(self, tree: str, address: str, *, last: bool) -> None:
        """A session of `tree` from `address` that had a place ended; `last` says that its run did."""
        with self._lock:
            self._places.release(tree, address, time.monotonic(), last=last)

    def seat_all(self, listener: socket.socket) -> None:
        """Serve every gate that connects to `listener`, for ever: each keeps its place until its connection ends."""
        # One thread for all of them: a flood of sessions costs descriptors, not threads.
        silent = local_server.Silent()
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while True:
                for ready, _ in selector.select():
                    if ready.fileobj is listener:
                        self._meet(listener.accept()[0], selector, silent)
                    else:
                        selector.unregister(ready.fileobj)
                        ready.fileobj.close()  # type: ignore[union-attr]
                        self.leave(**ready.data)

    def _meet(self, gate: socket.socket, selector: selectors.BaseSelector, silent: local_server.Silent) -> None:
        held: dict[str, Any] = {}
        if (uid := local_server.peer_uid(gate)) in silent:
            gate.close()
            return

        def seat(request: local_socket.Message, uid: int) -> local_socket.Message:
            answer = self.seat(request, uid)
            if answer["ok"]:
                held.update(tree=request["tree"], address=_address_in(request), last=request.get("last") is True)
            return answer

        gate.settimeout(_GATE_SECONDS)
        try:
            local_server.reply_to(gate, seat)
        except TimeoutError:
            silent.add(uid)
        except OSError as error:
            print(f"a gate went away: {error}", file=sys.stderr, flush=True)
        if held:  # also by one that went before its answer came: its end is read at once and gives the place back
            selector.register(gate, selectors.EVENT_READ, held)
        else:
            gate.close()

    def _note(self, reason: str, text: str) -> None:
        """Tell the log what was answered and why, at most once in a while for each reason."""
        with self._lock:
            self._note_locked(reason, text)

    def _note_locked(self, reason: str, text: str) -> None:
        now = time.monotonic()
        told, since = self._said.get(reason, (-_A_LINE, 0))
        if now < told + _A_LINE:
            self._said[reason] = told, since + 1
            return
        self._said[reason] = now, 0
        more = f" ({since} more since the last such line)" if since else ""
        print(f"{reason}: {text}{more}", file=sys.stderr, flush=True)


def server(permission: Permission, web: socket.socket) -> Any:
    """Return the HTTP server, ready to run(), of `permission` on the socket `web`."""
    return create_server(
        permission,
        sockets=[web],
        threads=4,
        ident=None,
        clear_untrusted_proxy_headers=True,
        max_request_body_size=1024,  # nginx has read the request already, and none has a body
        channel_timeout=30,
    )


def main() -> int:
    """Serve on the two sockets that systemd passed, for ever."""
    try:
        gates, web = local_server.inherited("place"), local_server.inherited("permission")
        permission = Permission(settings.load("accounts"), paths.REGISTRY, paths.USERS, paths.SEEN)
    except Refusal as error:
        print(f"xs-permission: {error}", file=sys.stderr)
        return 1
    local_server.in_background(lambda: permission.seat_all(gates), "gates")
    server(permission, web).run()
    return 0


def _address_in(request: local_socket.Message) -> str:
    return str(request.get("address", ""))[:_LONGEST_ADDRESS]


def _unavailable(reason: str, seconds: int) -> tuple[str, list[tuple[str, str]], bytes]:
    return "503 Service Unavailable", [("Retry-After", str(seconds)), ("X-XS-Reason", reason)], b""


if __name__ == "__main__":
    sys.exit(main())
