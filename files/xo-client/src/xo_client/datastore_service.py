# SPDX-License-Identifier: GPL-3.0-or-later
"""Sugar's datastore service: waited for until it writes nothing, stopped, and started again.

It has no word of its own for stopping; SIGTERM makes it close its index and end (/usr/bin/datastore-service). Whoever
asks it for something starts it again over the session bus.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator

from xo_client import journal, sugar
from xo_client.errors import Trouble

NAME = "org.laptop.sugar.DataStore"
_OBJECT = "/org/laptop/sugar/DataStore"
_PROGRAM = "datastore-service"
_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_QUIET_SECONDS = 30.0  # an activity saves for a few seconds
_END_SECONDS = 20.0  # it may have to write its index out on slow flash
_START_SECONDS = 60  # it makes its index anew before it answers
_LOOK = 0.1  # seconds between two looks
_STILL = 3.0  # seconds in which a Journal that nobody writes to stays as it is


class Service:
    """The datastore service of one profile."""

    def __init__(self, profile: Path, cancel: threading.Event | None = None) -> None:
        """`cancel`, when set, ends the wait for activities that save."""
        self._profile = profile
        self._cancel = cancel or threading.Event()
        self._address: str | None = None  # of the session bus that it was on

    @contextmanager
    def stopped(self, datastore: Path) -> Iterator[None]:
        """Let no datastore service run that writes to `datastore`, and start it again afterwards if one did.

        Raise Trouble: writing when activities do not stop saving, cancelled.
        """
        if self.processes():
            self._wait_until_quiet(datastore)
        was_there = self.stop()
        try:
            yield
        finally:
            if was_there:
                self.start()

    def processes(self) -> list[int]:
        """Return the processes that serve this profile's datastore: on our session bus, and any other of ours.

        Not their children: one that is about to become md5sum looks like its parent, and where it is killed Sugar's
        search for duplicates deletes a document's data (optimizer.py: it takes the empty answer for a checksum).
        """
        found = {process for process in map(int, filter(str.isdecimal, os.listdir("/proc"))) if self._is_ours(process)}
        words = self._call(*_BUS, "GetConnectionUnixProcessID", "s", NAME).split()  # prints: u 1234
        if len(words) == 2 and words[1].isdecimal() and _is_alive(int(words[1])):
            found.add(int(words[1]))
        parents = {process: _parent(process) for process in found}
        return sorted(process for process, parent in parents.items() if parent is not None and parent not in found)

    def _is_ours(self, process: int) -> bool:
        try:
            if os.stat(f"/proc/{process}").st_uid != os.getuid():
                return False
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[:3]
            if not any(os.path.basename(word) == _PROGRAM.encode() for word in words) or not _is_alive(process):
                return False
            return os.path.realpath(sugar.profile(_environment(process))) == os.path.realpath(self._profile)
        except OSError:  # it has ended
            return False

    def stop(self) -> bool:
        """Stop all of them, and say whether there were any; raise Trouble (writing) where one does not end."""
        found = self.processes()
        for process in found:
            with suppress(OSError):  # it has ended
                self._address = _environment(process).get("DBUS_SESSION_BUS_ADDRESS") or self._address
                os.kill(process, signal.SIGTERM)
        end = time.monotonic() + _END_SECONDS
        while any(_is_alive(process) for process in found):
            if time.monotonic() > end:
                raise Trouble("writing")
            time.sleep(_LOOK)
        return bool(found)

    def start(self) -> None:
        """Start the service and wait until it answers; where that fails, whoever asks it for something starts it."""
        self._call(*_BUS, "StartServiceByName", "su", NAME, "0", seconds=_START_SECONDS)
        self._call(NAME, _OBJECT, NAME, "mounts", seconds=_START_SECONDS)

    def _wait_until_quiet(self, datastore: Path) -> None:
        """Return when Sugar writes nothing: it says so itself, or all stood still for a while.

        It removes `ds_clean` when an activity begins to save, and makes it after the last byte; after a save that
        failed there is none until the next one. While the queue has entries it looks for duplicates, and an end in the
        middle of that could cost a document its data.
        """
        end = time.monotonic() + _QUIET_SECONDS
        while time.monotonic() < end:
            before = _state(datastore)
            if not journal.in_flux(before[0], time.time()):
                if (datastore / "ds_clean").exists() and not before[1]:
                    return
                time.sleep(_STILL)
                if _state(datastore) == before:
                    return
            if self._cancel.wait(_LOOK):
                raise Trouble("cancelled")
        raise Trouble("writing")

    def _call(self, *words: str, seconds: int = 5) -> str:
        """Return what busctl prints for one call, "" where there is no bus or an error."""
        bus = f"--address={self._address}" if self._address else "--user"
        try:
            ended = subprocess.run(
                ["busctl", bus, f"--timeout={seconds}", "call", *words],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=seconds + 5,
                check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return ended.stdout.decode("utf-8", "replace").strip() if ended.returncode == 0 else ""


def _environment(process: int) -> dict[str, str]:
    raw = Path(f"/proc/{process}/environ").read_bytes().decode("utf-8", "surrogateescape")
    return dict(item.partition("=")[::2] for item in raw.split("\0") if "=" in item)


def _state(datastore: Path) -> tuple[dict[str, journal.Entry], list[str]]:
    """Return what the documents look like, and which wait for the search for duplicates."""
    try:
        queue = sorted(os.listdir(datastore / "checksums" / "queue"))
    except OSError:
        queue = []
    return journal.entries(datastore), queue


def _is_alive(process: int) -> bool:
    """Say whether the process runs; one that has ended and that nobody has asked for yet does not."""
    facts = _facts(process)
    return bool(facts) and facts[0] not in "ZX"


def _parent(process: int) -> int | None:
    facts = _facts(process)
    return int(facts[1]) if facts else None  # it has ended


def _facts(process: int) -> list[str]:
    """Return what the kernel says of a process from its state on (proc(5), stat); empty where there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].decode("ascii").split()
    except OSError:
        return []
