# SPDX-License-Identifier: GPL-3.0-or-later
"""Eve: a registered laptop in hostile hands. She has a valid key, all of ssh's messages, and time."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import paramiko

from laptop import RSYNC, Laptop

PUSH = "rsync --server -ltrze.iLsfxCIvu --timeout=160 --delete --partial . datastore-current"
_SECONDS = 30.0
_MANGLE = Path(__file__).with_name("mangle.py")


@dataclass(frozen=True)
class Answer:
    """What the server answered a command with; exit -1: sshd ended the connection or the channel without one."""

    exit: int
    out: bytes
    err: bytes


class Wire(paramiko.Transport):
    """An ssh connection that can say what no client says."""

    payload = b""

    def _send_user_message(self, data: paramiko.Message) -> None:
        # Of the kinds of channels that paramiko does not know, it sends the name alone.
        if self.payload and data.asbytes()[:1] == b"\x5a":  # SSH_MSG_CHANNEL_OPEN
            data.add_bytes(self.payload)
            self.payload = b""
        super()._send_user_message(data)  # type: ignore[misc]


@dataclass
class Eve:
    """Eve at her laptop."""

    laptop: Laptop
    uid: int
    stamps: list[str] = field(default_factory=list)  # of her own finished snapshots
    kept: str = ""  # the uid of the document in her own keepsake
    _line: Wire | None = None

    @property
    def key(self) -> paramiko.PKey:
        """Her private key."""
        return paramiko.Ed25519Key.from_private_key_file(str(self.laptop.home / "owner.key"))

    def dial(self) -> socket.socket:
        """Return a connection to sshd on which nothing has been said."""
        return socket.create_connection(
            (self.laptop.server, 22), timeout=_SECONDS, source_address=(self.laptop.address, 0)
        )

    @contextmanager
    def wire(self) -> Iterator[Wire]:
        """A connection whose keys are exchanged; nobody has logged in."""
        wire = Wire(self.dial())
        try:
            wire.start_client(timeout=_SECONDS)
            yield wire
        finally:
            wire.close()

    @contextmanager
    def login(self, name: str = "") -> Iterator[Wire]:
        """A connection on which she has logged in with her key."""
        with self.wire() as wire:
            wire.auth_publickey(name or self.laptop.serial, self.key)
            yield wire

    def say(self, command: str | bytes, send: bytes = b"") -> Answer:
        """Ask the server to run `command`, send it `send`, and return its answer; one connection serves many."""
        channel = self._channel()
        try:
            channel.exec_command(command if isinstance(command, bytes) else command.encode())
        except (paramiko.SSHException, EOFError):
            self.hang_up()
            return Answer(-1, b"", b"")
        return answer(channel, send)

    def hang_up(self) -> None:
        """End the connection that say() keeps."""
        if self._line:
            self._line.close()
            self._line = None

    def _channel(self) -> paramiko.Channel:
        until = time.monotonic() + _SECONDS
        while True:
            if not (self._line and self._line.is_active()):
                self._line = Wire(self.dial())
                self._line.start_client(timeout=_SECONDS)
                self._line.auth_publickey(self.laptop.serial, self.key)
            try:
                return self._line.open_session(timeout=_SECONDS)
            except (paramiko.SSHException, EOFError):  # the session before is about to end, or ended all of it
                assert time.monotonic() < until, "no session more"
                time.sleep(0.02)

    def owned(self, script: str, command: str = PUSH) -> Answer:
        """Run a Python `script` in rsync's place, where the server has it so (conftest, `owned`)."""
        return self.say(command, script.encode())

    def mangled(
        self, source: Path, target: str, *options: str, swaps: dict[bytes, bytes], pause: float = 0
    ) -> subprocess.CompletedProcess[str]:
        """Push `source` to `target` with a real rsync, each key of `swaps` replaced in what it sends; same lengths.

        A `pause` in seconds after each 64 kB makes a slow cable.
        """
        words = [f"{old.hex()}:{new.hex()}" for old, new in swaps.items()]
        shell = [sys.executable, str(_MANGLE), str(pause), *words, "--", *self.laptop._ssh()]
        command = [RSYNC[0], "--timeout=4", *options, "-e", shlex.join(shell), f"{source}/",
                   f"{self.laptop.server}:{target}"]  # fmt: skip
        return subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False
        )


def answer(channel: paramiko.Channel, send: bytes = b"") -> Answer:
    """Send `send` on `channel`, wait for its end, and return what came."""
    channel.settimeout(_SECONDS * 2)
    try:
        channel.sendall(send)
        channel.shutdown_write()
    except OSError:
        pass  # it has ended already: what it said still comes
    out, err = channel.makefile("rb").read(), channel.makefile_stderr("rb").read()
    code = channel.recv_exit_status() if channel.status_event.wait(_SECONDS) else -1
    channel.close()
    return Answer(code, out, err)


def refused(said: Answer) -> str:
    """Return the one line with which the gate refused; fail if it let Eve have her way, or told her more."""
    assert said.exit == 126, said
    assert said.out == b"", said
    assert said.err.startswith(b"xs: ") and said.err.endswith(b"\n") and said.err.count(b"\n") == 1, said
    assert all(32 <= one < 127 for one in said.err[:-1]), said
    assert b"Traceback" not in said.err
    return said.err.decode()[4:-1]
