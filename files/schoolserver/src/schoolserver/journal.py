# SPDX-License-Identifier: GPL-3.0-or-later
"""The Journal page: a learner's documents and their versions, opened by a ticket; a WSGI application behind nginx."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import waitress

from schoolserver import (
    bundle,
    catalog,
    datastore,
    entries,
    local_server,
    pages,
    paths,
    registry,
    search,
    settings,
    timeline,
)
from schoolserver.errors import Refusal
from schoolserver.ticket_socket import Asked
from schoolserver.tickets import Tickets
from schoolserver.timeline import Version

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ROOT = "/journal/"
COOKIE = "xs_journal"
A_PAGE = 200  # documents on one page
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = [
    # What a laptop wrote into its Journal is shown here: if any of it got past the escaping, nothing of it would run,
    # load, be framed or be sent elsewhere.
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    # Laptops are shared and handed on.
    ("Cache-Control", "no-store"),
]


@dataclass(frozen=True)
class Response:
    """What goes back: body pieces with their headers."""

    body: Iterable[bytes]
    status: HTTPStatus = HTTPStatus.OK
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """What the application stands on."""

    users: Path
    catalog: Path
    tickets: Tickets
    registry: Path = paths.REGISTRY
    clock: Callable[[], float] = time.monotonic

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        try:
            response = self._answer(environ)
        except sqlite3.Error as error:
            print(f"the catalog cannot be read: {error}", file=sys.stderr, flush=True)
            response = _message(HTTPStatus.SERVICE_UNAVAILABLE, "later")
        except OSError as error:
            print(f"{environ.get('PATH_INFO')!r}: {error}", file=sys.stderr, flush=True)
            response = _message(HTTPStatus.NOT_FOUND, "missing")
        except Refusal as refusal:
            response = _message(HTTPStatus.FORBIDDEN, "refused", str(refusal))
        start_response(f"{response.status.value} {response.status.phrase}", [*response.headers, *HEADERS])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else response.body

    def _answer(self, environ: WSGIEnvironment) -> Response:
        # The bytes of the path come as latin-1 (PEP 3333); ours are all ASCII, so others match nothing.
        path = environ.get("PATH_INFO", "")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _message(HTTPStatus.METHOD_NOT_ALLOWED, "missing")
        if path == f"{ROOT}static/journal.css":
            return _bytes(pages.stylesheet(), "text/css; charset=utf-8")
        if path.startswith(f"{ROOT}open/"):
            # A ticket is good once: what only looks at a link, as a HEAD does, must not use it up.
            if environ["REQUEST_METHOD"] != "GET":
                return _message(HTTPStatus.METHOD_NOT_ALLOWED, "missing")
            return self._open(path.removeprefix(f"{ROOT}open/"))
        tree = self.tickets.tree_of(_cookie(environ), self.clock())
        if tree is None:
            return _message(HTTPStatus.FORBIDDEN, "closed")
        with closing(catalog.reading(self.catalog)) as database:
            trees = registry.trees_of(tree, self.registry) or [tree]
            return self._show(database, trees, path, environ.get("QUERY_STRING", ""))

    def _open(self, ticket: str) -> Response:
        session = self.tickets.redeem(ticket, self.clock())
        if session is None:
            return _message(HTTPStatus.FORBIDDEN, "used")
        cookie = (
            f"{COOKIE}={session}; Max-Age={int(self.tickets.session_seconds)}; Path={ROOT}; HttpOnly; SameSite=Strict"
        )
        page = _message(HTTPStatus.SEE_OTHER, "opened")
        return Response(page.body, page.status, [*page.headers, ("Location", ROOT), ("Set-Cookie", cookie)])

    def _show(self, database: sqlite3.Connection, trees: list[str], path: str, query: str) -> Response:
        match path.removeprefix(ROOT).split("/") if path.startswith(ROOT) else []:
            case [""]:
                return _list(database, trees, query)
            case ["document", uid] if datastore.is_uid(uid):
                return _document(timeline.versions(database, trees, uid))
            case ["document", uid, tree, stamp, name] if datastore.is_uid(uid):
                version = _version(timeline.versions(database, trees, uid), tree, stamp)
                if version and name == "preview.png":
                    return self._preview(version)
                if version and name.endswith(".xoj"):
                    return self._bundle(version)
        return _message(HTTPStatus.NOT_FOUND, "missing")

    def _preview(self, version: Version) -> Response:
        with timeline.opened(self.users, version) as entry:
            image = entries.preview(entry)
        return _message(HTTPStatus.NOT_FOUND, "missing") if image is None else _bytes(image, "image/png")

    def _bundle(self, version: Version) -> Response:
        made = bundle.prepare(version.uid, lambda: timeline.opened(self.users, version))
        headers = [
            ("Content-Type", bundle.MIME_TYPE),
            ("Content-Length", str(made.length)),
            ("Content-Disposition", f'attachment; filename="{pages.file_name(version)}"'),
        ]
        return Response(made.pieces(), headers=headers)


def main() -> None:
    """Serve the sockets `journal` and `ticket` that systemd passed."""
    try:
        chosen = settings.load("journal")
        page_socket, ticket_socket = local_server.inherited("journal"), local_server.inherited("ticket")
    except Refusal as refusal:
        sys.exit(str(refusal))
    tickets = Tickets(chosen.ticket_seconds, chosen.session_seconds)
    asked = Asked(tickets, f"{chosen.address}{ROOT}open/")
    local_server.in_background(lambda: local_server.serve(ticket_socket, asked), "ticket")
    page = Page(paths.USERS, paths.CATALOG, tickets)
    waitress.serve(
        page,
        sockets=[page_socket],
        threads=8,
        ident=None,
        max_request_body_size=1024,
        clear_untrusted_proxy_headers=True,
    )


def _list(database: sqlite3.Connection, trees: list[str], query: str) -> Response:
    asked = parse_qs(query)
    gone = asked.get("show") == ["gone"]
    if words := asked.get("words", [""])[0][: search.LONGEST].strip():
        return _found(search.search(database, trees, words, A_PAGE), words, bool(catalog.waiting(database, trees)))
    wanted = asked.get("page", ["1"])[0]
    all_of_them, total = timeline.count(database, trees, False), timeline.count(database, trees, gone)
    last = max(1, -(-total // A_PAGE))
    page = min(max(1, int(wanted)), last) if wanted.isascii() and wanted.isdecimal() and len(wanted) < 6 else 1
    documents = timeline.documents(database, trees, (page - 1) * A_PAGE, A_PAGE, gone)
    shown = {"days": _by_day(documents), "gone": gone, "page": page, "last": last, "total": all_of_them}
    waiting = bool(catalog.waiting(database, trees))
    return _html(pages.render("list.html", words="", waiting=waiting, **shown))


def _found(documents: list[Version], words: str, waiting: bool) -> Response:
    latest_first = sorted(documents, key=lambda document: document.since, reverse=True)
    shown = {"days": _by_day(latest_first), "gone": False, "page": 1, "last": 1, "total": 0}
    return _html(pages.render("list.html", words=words, waiting=waiting, **shown))


def _by_day(documents: list[Version]) -> dict[str, list[Version]]:
    days: dict[str, list[Version]] = {}
    for document in documents:
        days.setdefault(pages.day(document.since), []).append(document)
    return days


def _document(versions: list[Version]) -> Response:
    if not versions:
        return _message(HTTPStatus.NOT_FOUND, "missing")
    return _html(pages.render("document.html", versions=versions, newest=versions[0]))


def _version(versions: list[Version], tree: str, stamp: str) -> Version | None:
    return next((one for one in versions if one.tree == tree and one.first <= stamp <= one.last), None)


def _message(status: HTTPStatus, which: str, detail: str = "") -> Response:
    return _html(pages.render("message.html", which=which, detail=detail), status)


def _html(body: bytes, status: HTTPStatus = HTTPStatus.OK) -> Response:
    response = _bytes(body, "text/html; charset=utf-8")
    return Response(response.body, status, response.headers)


def _bytes(body: bytes, content_type: str) -> Response:
    return Response([body], headers=[("Content-Type", content_type), ("Content-Length", str(len(body)))])


def _cookie(environ: WSGIEnvironment) -> str:
    # By hand: Browse sends a cookie of JSON beside ours (PROTOCOL.md section 8), and http.cookies gives up at it.
    for part in environ.get("HTTP_COOKIE", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return str(value)
    return ""


if __name__ == "__main__":
    main()
