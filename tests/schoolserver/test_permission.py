# SPDX-License-Identifier: GPL-3.0-or-later
"""May I back up now: over real HTTP on a unix socket, and for gates that come, sit and die."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from laptops import ANN, JIM, after, request
from schoolserver import allowance, local_socket, permission, registry, seen
from schoolserver.errors import Refusal
from schoolserver.permission import Permission
from schoolserver.seen import Sight
from schoolserver.settings import Accounts

KNOWN = after(request(JIM, 0), request(ANN, 1), request("ABC12345678", 1), request(JIM, 2))
ME = os.getuid()


Web = Callable[..., http.client.HTTPResponse]


class UnixHTTP(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("schoolserver", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(str(self._path))


@pytest.fixture
def school(tmp_path: Path) -> Permission:
    registry.write(tmp_path / "registry.db", KNOWN.accounts.values(), 0)
    return Permission(Accounts(places=2, full_percent=100), tmp_path / "registry.db", tmp_path)


@pytest.fixture
def web(school: Permission, tmp_path: Path) -> Web:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "web"))
    threading.Thread(target=permission.server(school, listener).run, daemon=True).start()

    def ask(path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        connection = UnixHTTP(tmp_path / "web")
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse()

    return ask


def test_a_known_laptop_may_go_and_the_answer_is_empty(web: Web) -> None:
    answer = web(f"/backup/1/available/{JIM}")
    assert (answer.status, answer.read()) == (200, b"")


def test_a_stranger_is_refused(web: Web) -> None:
    answer = web("/backup/1/available/SHC99999999")
    assert (answer.status, answer.headers["X-XS-Reason"], answer.read()) == (403, "unknown", b"")


def test_another_version_of_the_protocol_is_answered_with_those_that_are_spoken(
    web: Web,
) -> None:
    for path in (
        f"/backup/2/available/{JIM}",
        "/",
        "/backup/1/",
        "/backup/1/available/",
        "/backup/1/available/../x",
        "/%00",
    ):
        answer = web(path)
        assert (answer.status, answer.read()) == (404, b"1\n")


def test_asking_in_another_way_takes_no_place(school: Permission, web: Web) -> None:
    for method in ("HEAD", "POST", "OPTIONS"):
        assert web(f"/backup/1/available/{JIM}", method).status == 405
    assert school._places.taken(time.monotonic()) == 0


def test_when_all_places_are_leased_the_laptop_is_told_when_to_ask_again(web: Web, school: Permission) -> None:
    school._places.grant("SHC30000001", "172.18.96.1", time.monotonic())
    school._places.grant("SHC30000002", "172.18.96.2", time.monotonic())
    answer = web(f"/backup/1/available/{JIM}")
    assert (answer.status, answer.headers["X-XS-Reason"]) == (503, "busy")
    assert 15 <= int(answer.headers["Retry-After"]) <= 120


def test_when_the_disk_is_full_nobody_may_go_and_the_answer_says_why(tmp_path: Path) -> None:
    registry.write(tmp_path / "registry.db", KNOWN.accounts.values(), 0)
    used = allowance.used_percent(str(tmp_path))
    full = Permission(Accounts(full_percent=max(0, int(used) - 1)), tmp_path / "registry.db", tmp_path)
    status, headers, body = full.answer("GET", f"/backup/1/available/{JIM}")
    assert (status, dict(headers)["X-XS-Reason"], body) == ("503 Service Unavailable", "full", b"")


def test_a_damaged_registry_is_trouble_and_not_a_refusal_of_everybody(school: Permission, tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(b"x" * 5000)
    assert school.answer("GET", f"/backup/1/available/{JIM}")[0] == "503 Service Unavailable"


def test_a_laptop_that_registers_while_the_service_runs_is_known_at_once(school: Permission, tmp_path: Path) -> None:
    assert school.answer("GET", "/backup/1/available/SHC44444444")[0] == "403 Forbidden"
    known = after(request("SHC44444444", 5))
    registry.write(tmp_path / "registry.db", known.accounts.values(), 0)
    assert school.answer("GET", "/backup/1/available/SHC44444444")[0] == "200 OK"


def test_a_gate_gets_no_place_in_another_learners_name(school: Permission) -> None:
    for tree in (ANN, "SHC99999999", "", None, 5, [JIM], "\ud800", f"{JIM}\n"):
        with pytest.raises(Refusal, match="register it again"):
            school.seat({"tree": tree}, 20000)
    assert school._places.sessions == {}


def test_a_new_key_does_not_lock_the_old_key_out(school: Permission) -> None:
    school.answer("GET", f"/backup/1/available/{JIM}")
    assert school.seat({"tree": f"{JIM}.2"}, 20000)["ok"]
    assert not school.seat({"tree": f"{JIM}.2"}, 20000)["ok"]
    assert (school.seat({"tree": JIM}, 20000))["ok"]


def test_a_laptop_whose_new_key_waits_takes_one_place_for_its_question_and_its_session(school: Permission) -> None:
    assert school.answer("GET", f"/backup/1/available/{JIM}", "172.18.0.77")[0] == "200 OK"
    assert school.seat({"tree": f"{JIM}.2", "address": "172.18.0.77"}, 20000)["ok"]
    assert school.seat({"tree": JIM, "address": "172.18.0.78"}, 20000)["ok"]


def test_whoever_asks_is_known_by_the_address_that_nginx_writes(school: Permission, web: Web) -> None:
    assert web(f"/backup/1/available/{JIM}", X_Real_IP="172.18.96.7").status == 200
    assert school._places.leases[JIM].address == "172.18.96.7"


def test_the_log_says_who_was_sent_away_and_why_and_does_not_fill(
    school: Permission, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(100):
        school.answer("GET", "/backup/1/available/SHC99999999")
    school._places.grant("SHC30000001", "172.18.96.1", time.monotonic())
    school._places.grant("SHC30000002", "172.18.96.2", time.monotonic())
    for _ in range(3):
        school.answer("GET", f"/backup/1/available/{JIM}", "172.18.96.7")
    said = capsys.readouterr().err
    assert said.splitlines() == [
        "unknown: SHC99999999 is not registered",
        f"busy: {JIM} at 172.18.96.7 was told to ask again in 120 s",
    ]
    monkeypatch.setattr(permission, "_A_LINE", 0.0)
    school.answer("GET", "/backup/1/available/SHC88888888")
    assert capsys.readouterr().err == "unknown: SHC88888888 is not registered (99 more since the last such line)\n"


@pytest.fixture
def gates(tmp_path: Path) -> tuple[Permission, Path]:
    """A school whose only learner is the user that runs the tests, so that real connections are hers."""
    mine = replace(KNOWN.accounts[JIM], uid=ME)
    registry.write(tmp_path / "registry.db", [mine], 0)
    school = Permission(Accounts(places=2), tmp_path / "registry.db", tmp_path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "place"))
    listener.listen()
    threading.Thread(target=school.seat_all, args=(listener,), daemon=True).start()
    return school, tmp_path / "place"


def connect(path: Path, **request: object) -> tuple[socket.socket, local_socket.Message]:
    gate = socket.socket(socket.AF_UNIX)
    gate.settimeout(5)
    gate.connect(str(path))
    local_socket.send(gate, request)
    return gate, local_socket.receive(gate)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


def test_a_place_is_held_for_as_long_as_the_gate_lives(gates: tuple[Permission, Path]) -> None:
    school, path = gates
    gate, answer = connect(path, tree=JIM)
    assert answer["ok"]
    assert school._places.sessions == {JIM: 1}
    gate.close()
    wait_for(lambda: school._places.sessions == {})


def test_a_refused_gate_holds_nothing_and_hears_when_to_come_back(gates: tuple[Permission, Path]) -> None:
    school, path = gates
    kept = [connect(path, tree=JIM)[0] for _ in range(2)]
    gate, answer = connect(path, tree=JIM)
    assert answer["ok"] is False
    assert answer["retry_after"] > 0
    assert gate.recv(1) == b""
    kept.pop().close()
    wait_for(lambda: school._places.sessions == {JIM: 1})
    assert connect(path, tree=JIM)[1]["ok"]


def test_gates_that_say_nothing_or_nonsense_stop_nobody(
    gates: tuple[Permission, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permission, "_GATE_SECONDS", 0.1)
    _school, path = gates
    silent, rude = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    silent.connect(str(path))
    rude.connect(str(path))
    rude.sendall(b"{]\n")
    assert connect(path, tree=JIM)[1]["ok"]
    silent.close()
    rude.close()


def test_a_gate_that_went_before_its_answer_came_keeps_no_place(tmp_path: Path) -> None:
    mine = replace(KNOWN.accounts[JIM], uid=ME)
    registry.write(tmp_path / "registry.db", [mine], 0)
    school = Permission(Accounts(places=2), tmp_path / "registry.db", tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "place"))
        listener.listen()
        for _ in range(2):  # as many as there are places
            with socket.socket(socket.AF_UNIX) as gate:
                gate.connect(str(tmp_path / "place"))
                local_socket.send(gate, {"tree": JIM})
        threading.Thread(target=school.seat_all, args=(listener.dup(),), daemon=True).start()
        until = time.monotonic() + 5
        while not (answer := connect(tmp_path / "place", tree=JIM)[1])["ok"]:
            assert time.monotonic() < until, "the places never came back"
            time.sleep(0.01)
        assert answer["ok"]


# In store, and seen.


def test_a_laptop_in_store_hears_why_it_may_not_go(tmp_path: Path, web: Web) -> None:
    stored = replace(KNOWN.accounts[ANN], retired="2026-11-23T10:00:00Z")
    registry.write(tmp_path / "registry.db", KNOWN.plus(stored).accounts.values(), 0)
    for serial in (ANN, "ABC12345678"):
        answer = web(f"/backup/1/available/{serial}")
        assert (answer.status, answer.headers["X-XS-Reason"], answer.read()) == (403, "retired", b"")
    assert web(f"/backup/1/available/{JIM}").status == 200


def sight_of(school: Permission, tree: str = JIM) -> Sight | None:
    assert school._seen
    return seen.read(school._seen).get(tree)


@pytest.fixture
def watched(tmp_path: Path) -> Permission:
    """A school that writes down where laptops were seen."""
    registry.write(tmp_path / "registry.db", KNOWN.accounts.values(), 0)
    limits = Accounts(places=2, full_percent=100)
    return Permission(limits, tmp_path / "registry.db", tmp_path, tmp_path / "seen.json")


def test_where_a_laptop_was_seen_is_what_its_gate_says_and_how_its_client_called_itself(watched: Permission) -> None:
    watched.answer("GET", f"/backup/1/available/{JIM}", "172.18.0.99", "Python-urllib/2.7")
    assert watched.seat({"tree": JIM, "address": "172.18.0.77"}, 20000)["ok"]
    sight = sight_of(watched)
    assert sight
    assert (sight.address, sight.client) == ("172.18.0.77", "Python-urllib/2.7")


def test_whoever_only_asks_in_a_laptops_name_is_not_taken_for_it(watched: Permission) -> None:
    watched.answer("GET", f"/backup/1/available/{JIM}", "172.18.0.99", "a classmate's curl")
    assert sight_of(watched) is None
    assert watched.seat({"tree": f"{JIM}.2", "address": "172.18.0.77"}, 20000)["ok"]
    further = sight_of(watched, f"{JIM}.2")
    assert further
    assert (further.address, further.client) == ("172.18.0.77", "")
    assert sight_of(watched) is None


def test_a_session_that_is_refused_was_not_seen(watched: Permission) -> None:
    with pytest.raises(Refusal):
        watched.seat({"tree": JIM, "address": "172.18.0.77"}, 20001)
    for number in range(2):
        watched._places.grant(f"SHC3000000{number}", f"172.18.96.{number}", time.monotonic())
    assert not watched.seat({"tree": JIM, "address": "172.18.0.77"}, 20000)["ok"]
    assert sight_of(watched) is None


def test_what_a_client_calls_itself_is_one_short_printable_line(watched: Permission) -> None:
    hostile = "\x1b[2J\r\n\x9b{{ x }}\u202e" + "A" * 500
    watched.answer("GET", f"/backup/1/available/{JIM}", "172.18.0.77", hostile)
    watched.seat({"tree": JIM, "address": "172.18.0.77"}, 20000)
    sight = sight_of(watched)
    assert sight
    assert sight.client.isascii()
    assert sight.client.isprintable()
    assert len(sight.client) <= 60


def test_the_client_is_what_its_request_says(watched: Permission, tmp_path: Path) -> None:
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": f"/backup/1/available/{JIM}",
        "HTTP_USER_AGENT": "Python-urllib/2.7",
        "HTTP_X_REAL_IP": "172.18.0.77",
    }
    answers: list[str] = []
    assert list(watched(environ, lambda status, headers: answers.append(status))) == [b""]
    del environ["HTTP_USER_AGENT"]
    environ["PATH_INFO"] = f"/backup/1/available/{ANN}"
    list(watched(environ, lambda status, headers: answers.append(status)))
    assert answers == ["200 OK", "200 OK"]
    assert watched._clients == {JIM: "Python-urllib/2.7", ANN: ""}


@pytest.mark.parametrize("damaged", ["{", '{"SHC11111111": {"address": "x", "client": "y", "when": 5}}'])
def test_a_damaged_file_of_sights_costs_no_backup_and_no_place(watched: Permission, damaged: str) -> None:
    assert watched._seen
    watched._seen.write_text(damaged)
    assert (watched.seat({"tree": JIM, "address": "172.18.0.77"}, 20000))["ok"]
    assert watched._places.sessions == {JIM: 1}
    assert sight_of(watched)


def test_where_sights_cannot_be_written_the_log_says_so_and_the_backup_goes_on(
    watched: Permission, capsys: pytest.CaptureFixture[str]
) -> None:
    assert watched._seen
    watched._seen.with_name(".seen.json.new").mkdir()
    assert (watched.seat({"tree": JIM, "address": "172.18.0.77"}, 20000))["ok"]
    assert f"seen: {watched._seen}: " in capsys.readouterr().err
