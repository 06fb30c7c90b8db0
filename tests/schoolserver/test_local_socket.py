# SPDX-License-Identifier: GPL-3.0-or-later
"""Local sockets: real ones, with hostile peers."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schoolserver import local_server, local_socket
from schoolserver.errors import Refusal
from schoolserver.local_socket import Message


def answer(request: Message, uid: int) -> Message:
    if "refuse" in request:
        raise Refusal("Not today: come back tomorrow.")
    if "break" in request:
        raise RecursionError("deep inside /library/users")
    return {"ok": True, "echo": request, "uid": uid}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        threading.Thread(target=local_server.serve, args=(listener, answer, 0.3), daemon=True).start()
        yield path


def test_a_request_is_answered_with_the_uid_that_the_kernel_names(server: Path) -> None:
    reply = local_socket.ask(server, {"tree": "SHC12345678", "uid": 4711}, timeout=5)
    assert reply == {"ok": True, "echo": {"tree": "SHC12345678", "uid": 4711}, "uid": os.getuid()}


def test_a_refusal_reaches_the_asker_as_one_line(server: Path) -> None:
    assert local_socket.ask(server, {"refuse": 1}, timeout=5) == {
        "ok": False,
        "error": "Not today: come back tomorrow.",
    }


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"nonsense\n", b"\xff\xfe\n", b"[" * 5000 + b"\n", b"x" * 200_000])
def test_garbage_is_dropped_and_the_next_one_served(server: Path, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as hostile:
        hostile.settimeout(5)
        hostile.connect(str(server))
        try:
            hostile.sendall(line)
            assert hostile.recv(100) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass  # it hung up before all of it was sent, as it should
    assert local_socket.ask(server, {}, timeout=5)["ok"]


def test_a_silent_peer_holds_the_others_up_for_its_timeout_only(server: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(server))
        assert local_socket.ask(server, {}, timeout=5)["ok"]


SILENT = """
import socket, sys, time
held = []
for _ in range(20):
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1])
    held.append(one)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_who_says_nothing_twenty_times_is_waited_for_once(server: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server.chmod(0o666)
    for directory in server.parents:
        if directory.stat().st_uid == os.getuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o011)
    command = ["/usr/bin/python3", "-IS", "-c", SILENT, str(server)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, user=20000, group=20000, **pipes) as hostile:  # type: ignore[call-overload]
        assert hostile.stdout.readline() == b"held\n"
        before = time.monotonic()
        assert local_socket.ask(server, {}, timeout=10)["ok"]
        assert time.monotonic() - before < 2, "twenty times 0.3 s are six"
        hostile.stdin.close()
    assert capfd.readouterr().err.count("uid 20000 said nothing") == 1


def test_a_peer_that_drips_holds_the_others_up_no_longer_than_a_silent_one(server: Path) -> None:
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(server))

        def drip() -> None:
            with contextlib.suppress(OSError):
                for _ in range(100):
                    slow.sendall(b" ")
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        assert local_socket.ask(server, {}, timeout=2)["ok"]


def test_an_answer_that_drips_is_given_up_in_time(tmp_path: Path) -> None:
    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for _ in range(100):
                connection.sendall(b" ")
                time.sleep(0.05)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "slow"))
        listener.listen()
        threading.Thread(target=lambda: drip(listener.accept()[0]), daemon=True).start()
        began = time.monotonic()
        with pytest.raises(OSError):
            local_socket.ask(tmp_path / "slow", {}, timeout=0.5)
        assert time.monotonic() - began < 2


def test_an_error_nobody_thought_of_ends_one_request_and_tells_nothing(
    server: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = local_socket.ask(server, {"break": 1}, timeout=5)
    assert (reply["ok"], "library" in reply["error"]) == (False, False)
    assert local_socket.ask(server, {}, timeout=5)["ok"]
    assert "deep inside /library/users" in capsys.readouterr().err


def test_a_thread_that_dies_takes_the_process_along() -> None:
    program = """
import time
from schoolserver import local_server
local_server.in_background(lambda: 1 // 0, "ticket")
time.sleep(20)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=10, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_asking_a_part_that_is_down_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        local_socket.ask(tmp_path / "nobody", {}, timeout=1)


def test_the_sockets_that_systemd_passed_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDNAMES", "journal:ticket")
    with pytest.raises(Refusal, match="no socket named place"):
        local_server.inherited("place")
    with socket.socket(socket.AF_UNIX) as ours:
        monkeypatch.setattr(local_server, "FIRST_INHERITED", os.dup(ours.fileno()) - 1)
        with local_server.inherited("ticket") as found:
            assert found.family == socket.AF_UNIX


def test_sockets_passed_to_another_process_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDNAMES", "journal")
    with pytest.raises(Refusal):
        local_server.inherited("journal")
