# SPDX-License-Identifier: GPL-3.0-or-later
"""What ssh can do besides running a command, asked for with Eve's own key. Each key says what it would gain."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable

import paramiko
import pytest

from eve import PUSH, Answer, Eve, Wire, answer, refused
from ground import Ground
from siege import Refuse

LOGIN = "Accepted publickey"  # sshd writes down who it was that asked; what it refused, of some requests only


def text(*words: str | int) -> bytes:
    """Return `words` as ssh packs strings and numbers."""
    message = paramiko.Message()
    for word in words:
        if isinstance(word, int):
            message.add_int(word)
        else:
            message.add_string(word)
    return message.asbytes()


CHANNELS: dict[str, tuple[str, bytes, str]] = {
    "direct-tcpip to sshd: the server's own loopback": (
        "direct-tcpip", text("127.0.0.1", 22, "127.0.0.1", 1), "refused local port forward"
    ),
    "direct-tcpip to another host: the school's network": (
        "direct-tcpip", text("192.0.2.1", 80, "127.0.0.1", 1), "refused local port forward"
    ),
    "direct-tcpip to a name: the server's name service": (
        "direct-tcpip", text("schoolserver", 53, "127.0.0.1", 1), "refused local port forward"
    ),
    "direct-tcpip to IPv6: a filter that knows IPv4 only": (
        "direct-tcpip", text("::1", 8080, "::1", 1), "refused local port forward"
    ),
    "direct-streamlocal to the snapshot part: another's tree in the report": (
        "direct-streamlocal@openssh.com", text("/run/xs/snapshot", "", 0), "refused streamlocal port forward"
    ),
    "direct-streamlocal to the registrar: accounts": (
        "direct-streamlocal@openssh.com", text("/run/xs/registrar", "", 0), "refused streamlocal port forward"
    ),
    "direct-streamlocal to the Journal page: everybody's page": (
        "direct-streamlocal@openssh.com", text("/run/xs/journal", "", 0), "refused streamlocal port forward"
    ),
    "direct-streamlocal to dbus: systemd": (
        "direct-streamlocal@openssh.com", text("/run/dbus/system_bus_socket", "", 0), "refused streamlocal port forward"
    ),
    "tun, point to point: an interface of the server's": ("tun@openssh.com", text(1, 0x7FFFFFFF), LOGIN),
    "tun, ethernet: the school's network": ("tun@openssh.com", text(2, 0x7FFFFFFF), LOGIN),
    "x11: a window on the server": ("x11", text("127.0.0.1", 6000), LOGIN),
    "forwarded-tcpip: a connection that the server did not ask for": (
        "forwarded-tcpip", text("127.0.0.1", 22, "127.0.0.1", 1), LOGIN
    ),
    "auth-agent: the server's own agent": ("auth-agent@openssh.com", b"", LOGIN),
    "an unknown kind: a handler that nobody looked at": ("shell@schoolserver", b"", LOGIN),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "payload", "log"), CHANNELS.values(), ids=CHANNELS)
def test_no_channel_but_a_session_opens(eve: Eve, server: Ground, kind: str, payload: bytes, log: str) -> None:
    server.mark()
    with eve.login() as wire:
        wire.payload = payload
        if kind in ("direct-tcpip", "forwarded-tcpip", "x11"):  # paramiko packs these itself
            wire.payload, read = b"", paramiko.Message(payload)
            there = (read.get_text(), read.get_int())
            here = (read.get_text(), read.get_int()) if kind != "x11" else there
            with pytest.raises(paramiko.ChannelException) as no:
                wire.open_channel(kind, there if kind != "x11" else None, here, timeout=20)
        else:
            with pytest.raises(paramiko.ChannelException) as no:
                wire.open_channel(kind, timeout=20)
        assert no.value.code in (1, 2, 3)  # prohibited, failed, unknown
    server.told(log, of="sshd")


LISTENERS: dict[str, tuple[str, bytes]] = {
    "tcpip-forward on loopback: a service that looks like the server's": ("tcpip-forward", text("127.0.0.1", 9999)),
    "tcpip-forward for all: a service on the server's address": ("tcpip-forward", text("", 9998)),
    "tcpip-forward on port 80: the school's front": ("tcpip-forward", text("0.0.0.0", 80)),
    "tcpip-forward on any port: a door for others": ("tcpip-forward", text("localhost", 0)),
    "streamlocal-forward: a socket that looks like a part's": (
        "streamlocal-forward@openssh.com", text("/run/xs/place2")
    ),
    "streamlocal-forward in the library: a socket in her tree": (
        "streamlocal-forward@openssh.com", text("/library/users/x")
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "payload"), LISTENERS.values(), ids=LISTENERS)
def test_the_server_listens_to_nothing_for_her(eve: Eve, server: Ground, kind: str, payload: bytes) -> None:
    look = "ss --no-header --listening --tcp --unix --numeric | awk '{print $1, $4, $5}' | sort"
    before = server.run(look)
    server.mark()
    with eve.login() as wire:
        packed = paramiko.Message(payload)
        extra = (packed.get_text(), packed.get_int()) if kind == "tcpip-forward" else (packed.get_text(),)
        assert wire.global_request(kind, extra, wait=True) is None
        assert server.run(look) == before
    server.told(LOGIN, of="sshd")


def ask(wire: Wire, kind: str, payload: bytes) -> paramiko.Channel:
    """Open a session and ask it for `kind`; return it, or raise SSHException when that is refused."""
    channel = wire.open_session(timeout=20)
    message = paramiko.Message()
    message.add_byte(b"\x62")  # SSH_MSG_CHANNEL_REQUEST
    message.add_int(channel.remote_chanid)
    message.add_string(kind)
    message.add_boolean(True)
    message.add_bytes(payload)
    channel._event_pending()  # type: ignore[attr-defined]
    wire._send_user_message(message)
    channel._wait_for_event()  # type: ignore[attr-defined]
    return channel


REQUESTS: dict[str, tuple[str, bytes]] = {
    "pty: a terminal": ("pty-req", text("xterm", 80, 24, 0, 0, "")),
    "pty with modes: a terminal that types": ("pty-req", text("vt100", 1, 1, 0, 0, "\x01\x00\x00\x00\x03")),
    "x11: her screen for the server's programs": ("x11-req", b"\x00" + text("MIT-MAGIC-COOKIE-1", "00" * 16, 0)),
    "agent: her keys for the server's programs": ("auth-agent-req@openssh.com", b""),
    "signal: the end of another's session": ("signal", text("KILL")),
    "an unknown request: a handler that nobody looked at": ("sudo@schoolserver", b""),
    **{
        f"env {name}: {gain}": ("env", text(name, value))
        for name, value, gain in (
            ("LD_PRELOAD", "/library/users/x.so", "code in the gate"),
            ("LD_LIBRARY_PATH", "/library/users", "code in the gate"),
            ("PATH", "/library/users", "programs of her choice"),
            ("PYTHONPATH", "/library/users", "modules of her choice in the gate"),
            ("PYTHONSTARTUP", "/library/users/x.py", "code in the gate"),
            ("BASH_ENV", "/library/users/x", "a script before a shell"),
            ("ENV", "/library/users/x", "a script before a shell"),
            ("SHELLOPTS", "xtrace", "a shell that talks"),
            ("RSYNC_RSH", "sh", "a program in rsync"),
            ("RSYNC_PARTIAL_DIR", "/library/users", "files put outside"),
            ("GIT_SSH_COMMAND", "sh", "a program of her choice"),
            ("GIT_EXEC_PATH", "/library/users", "a program of her choice"),
            ("SSH_ORIGINAL_COMMAND", "sh", "a command behind the gate's back"),
            ("SSH_CONNECTION", "10.0.0.1 1 10.0.0.1 22", "another's address"),
            ("HOME", "/root", "another's files"),
            ("TMPDIR", "/library/users", "files put outside"),
            ("GLIBC_TUNABLES", "glibc.malloc.check=3", "a weaker allocator"),
            ("TZ", "/etc/shadow", "a file read as a time zone"),
        )
    },
}


@pytest.mark.parametrize(("kind", "payload"), REQUESTS.values(), ids=REQUESTS)
def test_a_session_grants_nothing_before_its_command(eve: Eve, server: Ground, kind: str, payload: bytes) -> None:
    server.mark()
    with eve.login() as wire, pytest.raises((paramiko.SSHException, EOFError)):
        ask(wire, kind, payload)
    server.told(LOGIN, of="sshd")


@pytest.mark.parametrize(
    ("name", "gain"),
    [("LANG", "words in a language that a filter does not know"), ("LC_ALL", "a locale file of her choice"),
     ("LC_TIME", "a locale file of her choice")],
)  # fmt: skip
@pytest.mark.parametrize("value", ["../../../../library/users", "tr_TR.UTF-8", "x" * 2000, "%s%n\n"])
def test_what_debians_sshd_takes_of_the_environment_changes_nothing(
    owned: None, eve: Eve, name: str, gain: str, value: str
) -> None:
    with eve.login() as wire:
        channel = ask(wire, "env", text(name, value))
        channel.exec_command(PUSH)
        said = answer(channel, b"import os; print(sorted(set(os.environ) - {'LC_CTYPE'}))")
        assert said == Answer(0, b"['PWD']\n", b""), gain
    with eve.login() as wire:
        channel = ask(wire, "env", text(name, value))
        channel.exec_command("id")
        assert "this account takes backups only" in refused(answer(channel))


def in_session(eve: Eve, start: Callable[[paramiko.Channel], object]) -> Answer:
    """Return what a session answers that `start` starts."""
    with eve.login() as wire:
        channel = wire.open_session(timeout=20)
        start(channel)
        return answer(channel)


SUBSYSTEMS = {
    "sftp: any file": "sftp",
    "internal-sftp: any file, inside sshd": "internal-sftp",
    "netconf: a program of another's": "netconf",
    "a path: any program": "/bin/sh",
    "our own words: a command that was not looked at": "xs status; id",
    "an empty name: a shell": "",
}


@pytest.mark.parametrize("name", SUBSYSTEMS.values(), ids=SUBSYSTEMS)
def test_no_subsystem_starts(eve: Eve, server: Ground, name: str) -> None:
    server.mark()
    try:
        said = in_session(eve, lambda channel: channel.invoke_subsystem(name))
    except paramiko.SSHException:
        server.told("subsystem request for ", of="sshd")
    else:
        assert said == Answer(126, b"", b"")  # of a subsystem's standard error sshd passes nothing on
        server.told(f"refused uid {eve.uid} ", of="xs-gate")


def test_a_shell_without_a_command_is_refused_for_a_prompt(eve: Eve, server: Ground) -> None:
    server.mark()
    assert refused(in_session(eve, lambda channel: channel.invoke_shell())).startswith("there is no shell here")
    server.told(f"refused uid {eve.uid} .*: there is no shell here", of="xs-gate")


def test_a_command_after_a_refused_terminal_is_the_gates_all_the_same(eve: Eve) -> None:
    with eve.login() as wire:
        with pytest.raises((paramiko.SSHException, EOFError)):
            ask(wire, "pty-req", text("xterm", 80, 24, 0, 0, ""))
        time.sleep(0.5)  # until sshd has closed that session: one at a time
        channel = wire.open_session(timeout=20)
        channel.exec_command("sh")
        assert refused(answer(channel))


def test_a_second_session_beside_the_first_is_refused_for_a_way_past_the_lock(eve: Eve, owned: None) -> None:
    with eve.login() as wire:
        first = wire.open_session(timeout=20)
        first.exec_command(PUSH)
        with pytest.raises(paramiko.ChannelException):
            wire.open_session(timeout=20)
        assert answer(first, b"print('done')").out == b"done\n"


def test_a_command_with_a_nul_ends_the_connection_for_what_a_filter_does_not_see(eve: Eve, server: Ground) -> None:
    server.mark()
    assert eve.say(b"xs status\0id").exit == -1
    server.told(LOGIN, of="sshd")
    assert eve.say("xs status").exit == 0


CLIENTS = {
    "scp to the server: any file written": ["scp", "{key}", "/etc/hostname", "{to}:datastore-current"],
    "scp from the server: any file read": ["scp", "{key}", "{to}:/etc/passwd", "/dev/null"],
    "old scp to the server: any file written": ["scp", "-O", "{key}", "/etc/hostname", "{to}:datastore-current"],
    "old scp from the server: any file read": ["scp", "-O", "{key}", "{to}:/etc/passwd", "/dev/null"],
    "sftp: any file": ["sftp", "-b", "/dev/null", "{key}", "{to}"],
    "ssh -tt: a terminal": ["ssh", "-tt", "{key}", "{to}"],
    "ssh -W: another host": ["ssh", "{key}", "-W", "192.0.2.1:22", "{to}"],
    "ssh -R: a door for others": [
        "ssh", "{key}", "-o", "ExitOnForwardFailure=yes", "-N", "-R", "9997:127.0.0.1:22", "{to}",
    ],
    "ssh -R of a socket: a part of the server's": [
        "ssh", "{key}", "-o", "ExitOnForwardFailure=yes", "-N", "-R", "/run/xs/x:127.0.0.1:22", "{to}",
    ],
    "rsync of a foreign path: login names": ["rsync", "-e", "ssh {key}", "-a", "{to}:/etc/passwd", "/dev/null"],
    "rsync -a: owners, devices, groups": ["rsync", "-e", "ssh {key}", "-a", "/etc/hostname", "{to}:datastore-current"],
    "rsync --rsync-path: any program": [
        "rsync", "-e", "ssh {key}", "--rsync-path=sh -c id; rsync", "-rlt", "/etc/hostname", "{to}:datastore-current",
    ],
    "rsync -s: arguments behind the gate's back": [
        "rsync", "-e", "ssh {key}", "-s", "-rlt", "/etc/hostname", "{to}:datastore-current",
    ],
    "rsync -M: options for the server alone": [
        "rsync", "-e", "ssh {key}", "-M--log-file=/x", "-rlt", "/etc/hostname", "{to}:datastore-current",
    ],
    "rsync of the daemon's kind: modules": ["rsync", "-e", "ssh {key}", "{to}::"],
}  # fmt: skip


def options_of(eve: Eve) -> list[str]:
    """Return what the real clients are told, besides where to go."""
    return ["-F/dev/null", "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR",
            "-oBatchMode=yes", "-oIdentitiesOnly=yes", f"-i{eve.laptop.home}/owner.key"]  # fmt: skip


def test_a_dynamic_forward_leads_nowhere_for_the_schools_network(eve: Eve, server: Ground) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    to = f"{eve.laptop.serial}@{eve.laptop.server}"
    server.mark()
    with subprocess.Popen(["ssh", *options_of(eve), "-N", "-D", f"127.0.0.1:{port}", to]) as proxy:
        try:
            until = time.monotonic() + 20
            while True:
                try:
                    line = socket.create_connection(("127.0.0.1", port), timeout=20)
                    break
                except OSError:
                    assert time.monotonic() < until
                    time.sleep(0.1)
            with line:
                line.sendall(b"\x05\x01\x00")  # SOCKS 5, no password
                assert line.recv(2) == b"\x05\x00"
                line.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x16")  # connect to 127.0.0.1:22
                line.recv(10)  # the client itself says yes, before it asked
                assert line.recv(100) == b""
        finally:
            proxy.terminate()
    server.told("refused local port forward", of="sshd")


@pytest.mark.parametrize("words", CLIENTS.values(), ids=CLIENTS)
def test_the_real_clients_get_no_more(eve: Eve, server: Ground, words: list[str]) -> None:
    options = options_of(eve)
    to = f"{eve.laptop.serial}@{eve.laptop.server}"
    command: list[str] = []
    for word in words:
        command += options if word == "{key}" else [word.format(key=" ".join(options), to=to)]
    server.mark()
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    assert done.returncode != 0, done.stdout
    assert "root:" not in done.stdout
    assert "uid=" not in done.stdout
    server.told(rf"refused uid {eve.uid} |{LOGIN}", of="xs-gate" if "xs:" in done.stderr else "sshd")


def test_a_refused_command_before_a_good_one_leaves_nothing_behind(eve: Eve, refuse: Refuse) -> None:
    refuse("cd /etc")
    assert eve.say("xs status").exit == 0
