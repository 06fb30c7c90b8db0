# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server answers, whoever it is, is an answer or one sentence for a child."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from email.message import Message
from pathlib import Path

import pytest

from xo_client import server
from xo_client.errors import Trouble
from xo_client.registration import Registered
from xo_client.state import State

AT = Registered("ABC12345678", "schoolserver")


@pytest.mark.parametrize(
    "date",
    [
        "",
        "x",
        "Fri, 31 Dec 9999 23:00:00 -2300",
        "Mon, 01 Jan 20200000000 00:00:00 GMT",
        "Mon, 99 Jan 2020 99:00:00 GMT",
    ],
)
def test_a_date_that_cannot_be_is_no_school_server(date: str, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = Message()
    headers["Date"] = date
    monkeypatch.setattr(server, "_get", lambda host, path: (404, headers, "1"))
    with pytest.raises(Trouble) as caught:
        server.time_now("schoolserver")
    assert caught.value.reason == "away"


def says(program: str, top: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """Put `program` (Python) in ssh's place."""
    ssh = top / "ssh"
    ssh.write_text(f"#!{sys.executable}\nimport os, sys\n{program}\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{top}:{os.environ['PATH']}")
    return State(top)


@pytest.mark.parametrize(
    "program",
    [
        "print('no JSON')", "print('[]')", "print('{}')", "print('{\"a\":' * 100_000)", "print('{\"protocol\": 2}')",
        "os.write(1, b'\\xff')", "print('{\"protocol\": 1, \"a\": \"' + 'x' * 5_000_000 + '\"}')",
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_the_servers_trouble(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Trouble) as caught:
        server.ask(says(program, tmp_path, monkeypatch), AT, "status")
    assert caught.value.reason == "trouble"


def test_an_answer_without_end_takes_neither_the_memory_nor_the_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = says("while True: os.write(1, b'x' * 65536)", tmp_path, monkeypatch)
    began = time.monotonic()
    with pytest.raises(Trouble) as caught:
        server.ask(state, AT, "status")
    assert caught.value.reason == "trouble"
    assert time.monotonic() - began < server._SSH_SECONDS / 2


def test_a_silent_server_is_a_network_that_broke_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_SSH_SECONDS", 0.5)
    with pytest.raises(Trouble) as caught:
        server.ask(says("import time; time.sleep(60)", tmp_path, monkeypatch), AT, "status")
    assert caught.value.reason == "network"


def test_the_gates_words_reach_the_child_and_a_terminals_do_not() -> None:
    assert server.said("xs: something \x1b]0;odd\x07 broke").message == "Something ]0;odd broke."
    assert server.said("noise\nxs: the school server is full\n").reason == "full"
    assert server.said("xs:  \x1b\n").reason == "trouble"


def test_ssh_finds_its_files_in_a_home_of_any_name(tmp_path: Path) -> None:
    home = tmp_path / "Ana's %d things"
    words = server.ssh(State(home), AT)
    asked = subprocess.run([words[0], "-G", *words[1:]], capture_output=True, text=True, check=True).stdout
    assert f"userknownhostsfile {home}/xo-client/known_hosts\n" in asked
