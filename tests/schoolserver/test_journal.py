# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import os
import re
import socket
import sqlite3
import threading
import urllib.parse
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
import waitress.server

import school
from laptops import after, request
from schoolserver import journal, registry, snapshot
from schoolserver.journal import Page
from schoolserver.tickets import Tickets

ONE, TWO, OTHERS = school.uid(1), school.uid(2), school.uid(3)
S1, S2 = "2026-11-23T101500Z", "2026-11-24T101500Z"
TREE, OTHER_TREE = "SHC12345678", "SHC99999999"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Browser:
    """A browser that keeps the cookie and follows nothing by itself; every answer is checked against WSGI's rules."""

    def __init__(self, page: Page) -> None:
        self.page, self.cookie = page, ""

    def get(self, url: str, method: str = "GET") -> Answer:
        path, _, query = url.partition("?")
        environ: dict[str, object] = {
            "SCRIPT_NAME": "", "PATH_INFO": urllib.parse.unquote(path, "latin-1"),
            "QUERY_STRING": query, "REQUEST_METHOD": method,
            "HTTP_COOKIE": 'xoid={"color": "#f00;#00f", "pkey_hash": "abc"}; ' + self.cookie,
        }  # fmt: skip
        setup_testing_defaults(environ)
        said: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], _error: object = None) -> object:
            said.append((status, headers))
            return None

        result = validator(self.page)(environ, start_response)  # type: ignore[arg-type]
        body = b"".join(result)
        result.close()  # type: ignore[attr-defined]
        headers = dict(said[0][1])
        self.cookie = headers.get("Set-Cookie", self.cookie).partition(";")[0]
        return Answer(int(said[0][0][:3]), headers, body)


@pytest.fixture
def page(library: Path) -> Page:
    tree, other = school.make_tree(library / "users"), school.make_tree(library / "users", OTHER_TREE, 20001)
    file = library / "catalog.db"

    def run(where: Path, day: int) -> None:
        school.end_run(where)
        assert snapshot.take(where, school.day(day), file)

    school.write_document(tree / "datastore-current", ONE, b"first words", title="My story", preview=school.PNG)
    school.write_document(tree / "datastore-current", TWO, None, title="<script>alert('x')</script>", mime_type='"><b>')
    school.write_document(other / "datastore-current", OTHERS, b"secret", title="Secret diary")
    run(tree, 0)
    run(other, 0)
    school.write_document(tree / "datastore-current", ONE, b"second words", 1_790_000_099, title="My story")
    school.remove_document(tree / "datastore-current", TWO)
    run(tree, 1)
    return Page(library / "users", file, Tickets(600, 3600), library / "registry.db", lambda: 0.0)


@pytest.fixture
def browser(page: Page) -> Browser:
    visitor = Browser(page)
    opened = visitor.get(f"/journal/open/{page.tickets.mint(TREE, 0)}")
    assert (opened.status, opened.headers["Location"]) == (303, "/journal/")
    return visitor


def test_without_a_ticket_the_page_says_how_to_open_it(page: Page) -> None:
    stranger = Browser(page)
    for url in ("/journal/", f"/journal/document/{ONE}", f"/journal/document/{ONE}/{TREE}/{S1}/a.xoj"):
        answer = stranger.get(url)
        assert answer.status == 403
        assert "ask your teacher for a link" in answer.text
        assert "My story" not in answer.text


def test_a_ticket_opens_once(page: Page) -> None:
    ticket = page.tickets.mint(TREE, 0)
    assert Browser(page).get(f"/journal/open/{ticket}").status == 303
    second = Browser(page).get(f"/journal/open/{ticket}")
    assert second.status == 403
    assert "works once" in second.text


def test_looking_at_a_link_does_not_use_it_up(page: Page) -> None:
    ticket = page.tickets.mint(TREE, 0)
    assert Browser(page).get(f"/journal/open/{ticket}", "HEAD").status == 405
    assert Browser(page).get(f"/journal/open/{ticket}").status == 303


def test_the_cookie_stays_on_the_page(page: Page) -> None:
    cookie = Browser(page).get(f"/journal/open/{page.tickets.mint(TREE, 0)}").headers["Set-Cookie"]
    assert cookie.split("; ")[1:] == ["Max-Age=3600", "Path=/journal/", "HttpOnly", "SameSite=Strict"]


def documents(answer: Answer) -> list[tuple[str, str]]:
    return re.findall(r'<li class="document" data-uid="([^"]*)" data-gone="(yes|no)">', answer.text)


def test_the_list_shows_what_is_there_and_what_was_deleted_newest_first(browser: Browser) -> None:
    assert documents(browser.get("/journal/")) == [(ONE, "no"), (TWO, "yes")]
    assert documents(browser.get("/journal/?show=gone")) == [(TWO, "yes")]


def test_a_document_shows_its_versions_newest_first(browser: Browser) -> None:
    answer = browser.get(f"/journal/document/{ONE}")
    assert re.findall(r'<li class="version" data-stamp="([^"]*)">', answer.text) == [S2, S1]
    assert "Monday, 23 November 2026" in answer.text


@pytest.mark.parametrize(("stamp", "words"), [(S1, b"first words"), (S2, b"second words")])
def test_a_version_comes_down_as_a_bundle(browser: Browser, stamp: str, words: bytes) -> None:
    text = browser.get(f"/journal/document/{ONE}").text
    link = re.search(rf'href="(/journal/document/{ONE}/{TREE}/{stamp}/[^"]*\.xoj)"', text)
    assert link is not None
    answer = browser.get(link[1])
    assert answer.headers["Content-Type"] == "application/vnd.olpc-journal-entry"
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="My-story.xoj"'
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.read(f"{ONE}/{ONE}") == words


def test_a_deleted_document_comes_down_from_its_keepsake(browser: Browser, page: Page) -> None:
    tree = page.users / TREE
    school.rotate_out(tree, page.catalog, S1)
    assert documents(browser.get("/journal/?show=gone")) == [(TWO, "yes")]
    answer = browser.get(f"/journal/document/{TWO}/{TREE}/{S1}/a.xoj")
    assert (answer.status, zipfile.ZipFile(io.BytesIO(answer.body)).read(f"{TWO}/{TWO}")) == (200, b"")
    assert browser.get(f"/journal/document/{ONE}/{TREE}/{S1}/a.xoj").status == 404


def test_a_keepsake_that_went_a_moment_ago_is_missing_and_not_empty(browser: Browser, page: Page) -> None:
    tree = page.users / TREE
    school.rotate_out(tree, page.catalog, S1)
    (tree / "keepsakes" / TWO / S1).rename(tree / "keepsakes" / TWO / f".{S1}.new")
    assert browser.get(f"/journal/document/{TWO}/{TREE}/{S1}/a.xoj").status == 404


def test_a_preview_is_a_png_or_nothing(browser: Browser) -> None:
    answer = browser.get(f"/journal/document/{ONE}/{TREE}/{S2}/preview.png")
    assert (answer.headers["Content-Type"], answer.body) == ("image/png", school.PNG)
    assert browser.get(f"/journal/document/{TWO}/{TREE}/{S1}/preview.png").status == 404


def test_a_hostile_title_is_words_and_nothing_else(browser: Browser) -> None:
    for url in ("/journal/", f"/journal/document/{TWO}"):
        text = browser.get(url).text
        assert "&lt;script&gt;" in text
        assert "<script" not in text
        assert "<b>" not in text.replace("<b>Bring it back</b>", "")


def test_every_answer_keeps_the_browser_from_running_or_telling_anything(browser: Browser) -> None:
    for url in (
        "/journal/",
        f"/journal/document/{ONE}",
        f"/journal/document/{ONE}/{TREE}/{S2}/preview.png",
        "/journal/no",
    ):
        headers = browser.get(url).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'; img-src 'self';")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"


def test_words_find_the_learners_own_documents_deleted_ones_too(browser: Browser) -> None:
    assert documents(browser.get("/journal/?words=STORY")) == [(ONE, "no")]
    assert documents(browser.get("/journal/?words=alert")) == [(TWO, "yes")]
    assert documents(browser.get("/journal/?words=secret")) == []
    asked = browser.get("/journal/?words=%22%3E%3Cscript%3E")
    assert "<script>" not in asked.text
    assert "Nothing has these words" in asked.text


def test_while_not_all_is_listed_the_page_says_so(browser: Browser, page: Page) -> None:
    assert "looking through everything" not in browser.get("/journal/").text
    with closing(sqlite3.connect(page.catalog)) as database, database:
        database.execute("INSERT INTO waiting VALUES (?, 0)", (TREE,))
    assert "looking through everything" in browser.get("/journal/").text
    assert "looking through everything" in browser.get("/journal/?words=story").text


def test_nobody_reaches_anothers_documents(browser: Browser) -> None:
    assert "Secret" not in browser.get("/journal/").text
    bundle = f"/journal/document/{OTHERS}/{OTHER_TREE}/{S1}/a.xoj"
    for url in (f"/journal/document/{OTHERS}", bundle, bundle.replace(OTHER_TREE, TREE)):
        answer = browser.get(url)
        assert answer.status == 404
        assert b"secret" not in answer.body.lower()


def test_a_joined_laptops_documents_are_on_the_page_until_it_is_separated(page: Page, browser: Browser) -> None:
    known = after(request(TREE, 0), request(OTHER_TREE, 1)).accounts
    joined = {**known, OTHER_TREE: replace(known[OTHER_TREE], learner=TREE)}
    bundle = f"/journal/document/{OTHERS}/{OTHER_TREE}/{S1}/a.xoj"
    registry.write(page.registry, joined.values(), 0)
    assert "Secret" in browser.get("/journal/").text
    assert browser.get(bundle).status == 200
    registry.write(page.registry, known.values(), 0)
    assert "Secret" not in browser.get("/journal/").text
    assert browser.get(bundle).status == 404


@pytest.mark.parametrize(
    "path",
    ["", "..", "document/", "document/x", f"document/{ONE}/", f"document/{ONE}/{TREE}/x/a.xoj",
     f"document/{ONE}/{TREE}/{S1}/data",
     f"document/{ONE}/../a.xoj", f"document/../../{ONE}/{TREE}/{S1}/a.xoj", "static/../journal.py", "%ff%00",
     "?page=-1", "?page=99999999999999999999", "?page=²", "?show=%00"],
)  # fmt: skip
def test_odd_addresses_get_a_page_of_ours(browser: Browser, path: str) -> None:
    assert browser.get(f"/journal/{urllib.parse.quote(path, '/?=%')}").status in (200, 404)


def test_only_reading_is_possible(browser: Browser) -> None:
    assert browser.get("/journal/", "POST").status == 405
    head = browser.get(f"/journal/document/{ONE}/{TREE}/{S2}/a.xoj", "HEAD")
    assert (head.status, head.body) == (200, b"")


def test_without_a_catalog_the_page_asks_for_patience(page: Page, browser: Browser) -> None:
    page.catalog.unlink()
    answer = browser.get("/journal/")
    assert answer.status == 503
    assert "Everything is still there" in answer.text


def test_a_long_journal_is_paged(page: Page, browser: Browser) -> None:
    incoming = page.users / TREE / "datastore-current"
    for number in range(10, 215):
        school.write_document(incoming, school.uid(number))
    school.end_run(page.users / TREE)
    snapshot.take(page.users / TREE, school.day(2), page.catalog)
    first, second = browser.get("/journal/"), browser.get("/journal/?page=2")
    assert len(documents(first)) == journal.A_PAGE
    assert not set(documents(first)) & set(documents(second))
    assert len(documents(first)) + len(documents(second)) == 207
    assert "Page 1 of 2" in first.text


@pytest.fixture
def served(page: Page, tmp_path: Path) -> Iterator[Path]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "journal"))
    server = waitress.server.create_server(page, sockets=[listener], threads=2, clear_untrusted_proxy_headers=True)
    threading.Thread(target=server.run, daemon=True).start()
    yield tmp_path / "journal"
    server.close()


def test_waitress_serves_a_large_bundle_over_the_socket_that_systemd_passes(page: Page, served: Path) -> None:
    data = os.urandom(21_000_000)
    school.write_document(page.users / TREE / "datastore-current", ONE, data, 1_790_000_500)
    school.end_run(page.users / TREE)
    stamp = snapshot.take(page.users / TREE, school.day(3), page.catalog)
    connection = HTTPConnection("schoolserver")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(served))
    connection.request("GET", f"/journal/open/{page.tickets.mint(TREE, 0)}")
    opened = connection.getresponse()
    opened.read()
    cookie = str(opened.headers["Set-Cookie"]).partition(";")[0]
    connection.request("GET", f"/journal/document/{ONE}/{TREE}/{stamp}/a.xoj", headers={"Cookie": cookie})
    response = connection.getresponse()
    body = response.read()
    assert len(body) == int(str(response.headers["Content-Length"]))
    assert zipfile.ZipFile(io.BytesIO(body)).read(f"{ONE}/{ONE}") == data
