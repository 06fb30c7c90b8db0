# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking more than her share: connections, time, places, processes, files, the disk. Eve is stopped; Jim is served."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import paramiko
import pytest

from eve import PUSH, Eve
from ground import Ground
from laptop import Laptop
from siege import Guard

HALF_OPEN, AT_ONCE = 300, 200
DROP_IN = "/etc/ssh/sshd_config.d/00-impatient.conf"
IMPATIENT = (
    "LoginGraceTime 2\\nMatch Group xs-learners\\n UnusedConnectionTimeout 1\\n ClientAliveInterval 1\\n"
    " ClientAliveCountMax 2\\n"
)


def test_what_is_short_for_these_tests_is_minutes_in_a_school(server: Ground, eve: Eve) -> None:
    who = f"user={eve.laptop.serial},host=x,addr={eve.laptop.address}"
    said = dict(line.split(" ", 1) for line in server.run(f"sshd -T -C {who}").splitlines() if " " in line)
    assert (said["clientaliveinterval"], said["clientalivecountmax"]) == ("30", "4")
    assert int(said["logingracetime"]) <= 60
    assert int(said["unusedconnectiontimeout"]) <= 60
    assert int(said["maxsessions"]) == 1


def many(eve: Eve, number: int) -> Iterator[socket.socket]:
    """Yield connections to sshd on which nothing is said, as many as are taken."""
    for _ in range(number):
        try:
            yield eve.dial()
        except OSError:
            return


def test_connections_that_say_nothing_do_not_keep_jim_out(eve: Eve, guard: Guard) -> None:
    """Half-open: the pool of those who have not logged in yet, empty."""
    with ExitStack() as held:
        for one in many(eve, HALF_OPEN):
            held.enter_context(one)
        guard.serve()


def test_key_exchanges_that_are_never_finished_do_not_keep_jim_out(eve: Eve, guard: Guard) -> None:
    """The same pool, and memory for each."""
    with ExitStack() as held:
        for one in many(eve, HALF_OPEN):
            held.enter_context(one)
            try:
                one.sendall(b"SSH-2.0-Eve\r\n")
            except OSError:
                continue  # dropped
        guard.serve()


def test_two_hundred_logins_at_once_do_not_keep_jim_out(eve: Eve, guard: Guard) -> None:
    """A class at the bell, all of it Eve."""
    command = [*eve.laptop._ssh(), eve.laptop.server, "xs status"]
    running = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(AT_ONCE)
    ]
    try:
        guard.serve()
    finally:
        codes = [one.wait(120) for one in running]
    assert codes.count(0) >= AT_ONCE // 4, "nor is a whole class behind one address sent away"


@pytest.mark.parametrize("port", [8080, 80], ids=["registration", "the front"])
def test_six_hundred_connections_that_say_nothing_leave_room_for_jim(
    eve: Eve, jim: Laptop, guard: Guard, port: int
) -> None:
    """Nobody registers, nobody asks for permission: for as long as each of them is waited for."""
    with ExitStack() as held:
        taken = 0
        for _ in range(600):
            try:
                line = socket.create_connection((eve.laptop.server, port), 10, (eve.laptop.address, 0))
            except ConnectionError:
                continue
            held.enter_context(line)
            taken += 1
        assert 300 <= taken <= 360, "a whole school behind one router still gets in"
        before = time.monotonic()
        assert jim.register()["success"] == "OK"
        assert jim.permission()[0] == 200
        assert time.monotonic() - before < 8, "Sugar's patience"
        guard.serve()


def test_twenty_tries_with_a_wrong_key_lock_nobody_out(eve: Eve, jim: Laptop, server: Ground, guard: Guard) -> None:
    """Jim's login shut by Eve's mistakes; her address, shared by a whole school, as well."""
    server.mark()
    for _ in range(20):
        with eve.wire() as wire, pytest.raises((paramiko.SSHException, EOFError)):
            wire.auth_publickey(jim.serial, eve.key)
    server.told(f"(Connection closed|Disconnected|Connection reset).*{jim.serial}", of="sshd")
    assert eve.say("xs status").exit == 0
    guard.serve()


@pytest.fixture(scope="module")
def impatient(server: Ground, guard: Guard) -> Iterator[None]:
    """An sshd that waits for seconds where a school's waits for minutes."""
    server.run(f"printf '{IMPATIENT}' >{DROP_IN} && sshd -t && systemctl reload ssh && sleep 1")
    guard.renew()
    yield
    guard.check()
    server.run(f"rm {DROP_IN} && systemctl reload ssh && sleep 1")
    guard.renew()


def ends_within(connection: socket.socket, seconds: float) -> bool:
    """Return whether the server ends `connection` in time; what it says before does not count."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            if not connection.recv(4096):
                return True
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


SILENT: dict[str, bytes] = {
    "nothing: a connection for ever": b"",
    "half a banner: a connection for ever": b"SSH-2.0-Ev",
    "a banner: a key exchange for ever": b"SSH-2.0-Eve\r\n",
    "half a packet: a buffer for ever": b"SSH-2.0-Eve\r\n\x00\x00\x05\xdc\x06\x14",
}


@pytest.mark.parametrize("said", SILENT.values(), ids=SILENT)
def test_who_does_not_log_in_is_sent_away(impatient: None, eve: Eve, said: bytes) -> None:
    with eve.dial() as line:
        line.sendall(said)
        assert ends_within(line, 15)


def gone(wire: paramiko.Transport, seconds: float = 20) -> bool:
    """Return whether the server ends the connection in time."""
    until = time.monotonic() + seconds
    while wire.is_active() and time.monotonic() < until:
        time.sleep(0.2)
    return not wire.is_active()


def test_a_login_that_starts_nothing_is_ended_for_two_processes_held(impatient: None, eve: Eve) -> None:
    with eve.login() as wire:
        assert gone(wire)


def test_a_session_without_a_command_is_ended_for_two_processes_held(impatient: None, eve: Eve) -> None:
    with eve.login() as wire:
        wire.open_session(timeout=20)
        assert gone(wire)


def test_a_laptop_whose_lid_was_closed_gives_its_place_back(impatient: None, eve: Eve, server: Ground) -> None:
    """A place held by who does not answer any more."""
    eve.hang_up()
    command = [*eve.laptop._ssh(), eve.laptop.server, PUSH]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        try:
            assert session.stdout is not None
            session.stdout.read(4)  # rsync has started
            os.kill(session.pid, 19)  # SIGSTOP: the connection stands, nobody answers
            wait_until_gone(server, eve)
        finally:
            session.kill()


def wait_until_gone(server: Ground, eve: Eve, seconds: float = 20) -> None:
    """Return when nothing runs as Eve any more; fail after `seconds`."""
    until = time.monotonic() + seconds
    while server.run(f"grep -lsE '^Uid:\\s+{eve.uid}\\s' /proc/[0-9]*/status; true"):
        assert time.monotonic() < until, "something of hers stays"
        time.sleep(0.3)


@contextmanager
def session(eve: Eve, command: str) -> Iterator[paramiko.Channel]:
    """A session of Eve's in which `command` has started, or was refused; nothing is said on her side."""
    with eve.login() as wire:
        channel = wire.open_session(timeout=20)
        channel.exec_command(command)
        channel.settimeout(30)
        until = time.monotonic() + 20
        while not (channel.recv_ready() or channel.recv_stderr_ready() or channel.exit_status_ready()):
            assert time.monotonic() < until, "neither rsync's greeting nor a refusal"
            time.sleep(0.02)
        yield channel


@pytest.mark.parametrize("command", [PUSH.replace("160", "1"), "rsync --server -ltre.i . documents",
                                     "rsync --server --sender -ltre.i . datastore-latest/"],
                         ids=["her own timeout", "the server's timeout", "reading: the server's timeout"])  # fmt: skip
def test_a_session_that_says_nothing_is_ended_for_a_place_held(server: Ground, eve: Eve, command: str) -> None:
    eve.hang_up()
    with server.settings(idle_seconds=1), session(eve, command) as channel:
        assert channel.status_event.wait(25)
        assert channel.recv_exit_status() == 30  # rsync's own: timeout in data
    wait_until_gone(server, eve)


def test_a_session_that_says_a_little_now_and_then_ends_at_its_total_time(server: Ground, eve: Eve) -> None:
    """A place held by who looks alive."""
    eve.hang_up()
    with server.settings(session_seconds=4), session(eve, PUSH) as channel:
        channel.sendall(b"\x1d\0\0\0" + b"\0\0\0\0")  # protocol 29, no filters, and then names, slowly
        for _ in range(100):
            try:
                channel.sendall(b"\x00\x01a" + b"\0" * 8 + b"\xed\x41\0\0")
            except OSError:
                break
            time.sleep(0.2)
        assert channel.status_event.wait(10)
        assert channel.recv_exit_status() != 0
    wait_until_gone(server, eve)


def test_a_third_session_of_hers_finds_no_place(server: Ground, eve: Eve) -> None:
    """All places, one laptop's."""
    eve.hang_up()
    pull = "rsync --server --sender -ltre.i --timeout=60 . datastore-latest/"
    server.mark()
    with session(eve, pull), session(eve, pull), eve.login() as wire:
        channel = wire.open_session(timeout=20)
        channel.exec_command(pull)
        assert channel.makefile_stderr("rb").read().startswith(b"xs: the school server is busy")
        assert channel.recv_exit_status() == 126
    server.told("the school server is busy", of="xs-gate")


def test_many_laptops_of_hers_do_not_take_all_places(
    laptops: Callable[[str], Laptop], eve: Eve, jim: Laptop, guard: Guard
) -> None:
    eve.hang_up()
    guard.check()
    others = [laptops("Eve again") for _ in range(4)]
    for other in others:
        other.address = eve.laptop.address
        assert other.register()["success"] == "OK"
        other.write("One")
        other.back_up()
    guard.renew()
    with ExitStack() as held:
        for other in others:
            for _ in range(2):
                hers = Eve(other, 0)
                held.enter_context(session(hers, "rsync --server --sender -ltre.i --timeout=90 . datastore-latest/"))
        assert jim.permission() == (200, "")


# More than once, because what was deleted a moment ago comes free only then.
BALLAST = """
for one in 1 2 3 4; do
    btrfs filesystem sync /library
    free=$(($(df --block-size=1000000 --output=avail /library | tail -1) - 270))
    [ $free -le 5 ] || fallocate --length=${free}MB /library/ballast.$one
    sleep 1
done
"""


def sent_by(eve: Eve, source: Path) -> str:
    """Push `source` into documents; return what the server said."""
    return eve.laptop._rsync("-rlt", "--delete", f"{source}/", f"{eve.laptop.server}:documents").err


def test_more_bytes_than_a_learner_may_have_are_stopped_and_deleting_helps(
    server: Ground, eve: Eve, guard: Guard, tmp_path: Path
) -> None:
    """Everybody's disk, in one tree."""
    for number in range(40):
        (tmp_path / f"film{number}").write_bytes(os.urandom(1_000_000))
    with server.settings(learner_bytes=20_000_000):
        sent_by(eve, tmp_path)
        server.mark()
        assert "more than 20 MB came from this laptop: delete what is not needed" in sent_by(eve, tmp_path)
        server.told("more than 20 MB", of="xs-gate")
        for film in tmp_path.iterdir():
            film.unlink()
        sent_by(eve, tmp_path)
        assert sent_by(eve, tmp_path) == ""
    guard.serve()


def test_a_disk_that_she_fills_stops_her_before_it_is_full_and_jim_after_she_deletes_is_served(
    server: Ground, eve: Eve, jim: Laptop, guard: Guard, tmp_path: Path
) -> None:
    """Nobody's backup, everybody's history: a full disk."""
    eve.hang_up()
    server.run(BALLAST)
    try:
        source = tmp_path / "films"
        source.mkdir()
        for number in range(80):
            (source / f"film{number}").write_bytes(os.urandom(5_000_000))
        stamps = server.stamps(jim.serial)
        history = server.history(jim.serial, stamps)
        server.mark()
        # As fast as a cable brings it: the room is looked at four times a second.
        said = eve.mangled(source, "documents", "-rlt", swaps={}, pause=0.002).stderr
        assert "more than the school server has room for came from this laptop" in said
        server.told("more than the school server has room for", of="xs-gate")
        server.run("touch /library/probe && btrfs filesystem sync /library && rm /library/probe")  # it is not full
        assert server.failed_units() == []
        assert jim.permission() == (503, "full")
        assert jim.read("datastore-latest/") == jim.journal(), "what is there can be read"
        assert server.history(jim.serial, stamps) == history
        assert "the school server is full" in sent_by(eve, source)
    finally:
        server.run("rm -f /library/ballast.*; btrfs filesystem sync /library")
    for film in source.iterdir():
        film.unlink()
    assert sent_by(eve, source) == "", "what she deletes goes"
    for _ in range(50):
        if jim.permission()[0] == 200:
            break
        time.sleep(0.5)
    guard.serve()
