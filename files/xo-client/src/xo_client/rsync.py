# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place that starts rsync. What the server may be asked is PROTOCOL.md sections 4 and 9, and no more."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Callable, NamedTuple, Sequence

from xo_client.errors import Trouble
from xo_client.server import said

_LETTERS = ("-z", "-rlt")
_TIMEOUT = "--timeout=160"  # seconds without a byte, as the old client says it
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
VANISHED, PARTLY = 24, 23

_BREATH = 0.05  # seconds between two looks at what rsync prints: it prints a line for each file

Progress = Callable[[int], None]  # is given the bytes so far


class File(NamedTuple):
    """One thing in a directory on the server."""

    path: str  # as the server has it, in the file system's own encoding (surrogateescape)
    kind: str  # "-" file, "d" directory, "l" link, …: ls's letter
    size: int  # bytes
    mtime: int  # seconds since 1970, UTC, by the laptop's clock when it was written


class Remote(NamedTuple):
    """How the server is reached."""

    ssh: list[str]  # the command up to the host: server.ssh()

    def place(self, path: str) -> str:
        """Return rsync's word for `path` on the server."""
        return f"{self.ssh[-1]}:{path}"

    def options(self) -> list[str]:
        """Return what tells rsync how to get there. Its last word, the host, rsync adds by itself."""
        return ["-e", " ".join(shlex.quote(word) for word in self.ssh[:-1])]


_LINE = re.compile(
    r"(?P<kind>[-dlcbps])[-rwxsStT]{9}[.+]? +(?P<size>[0-9.,]+) (?P<when>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) (?P<name>.*)",
    re.DOTALL,
)
_ESCAPED = re.compile(rb"\\#([0-7]{3})")  # a byte that this locale has no sign for


def listing(remote: Remote, source: str, cancel: threading.Event | None = None) -> tuple[list[File], bool]:
    """Return all that is below `source` on the server, without reading any of it, and whether that is all: a directory
    on a disk that decays may not be readable. Raise Trouble.
    """
    with tempfile.TemporaryFile() as out:
        command = ["rsync", *_LETTERS, "--no-human-readable", _TIMEOUT, *remote.options(), remote.place(source + "/")]
        code, err = _run(command, out, cancel, None)
        out.seek(0)
        text = out.read().decode("utf-8", "surrogateescape")
    found = [file for file in map(_file, text.split("\n")) if file and file.path != "."]
    # Where there is nothing at all, the place itself is not there or not readable.
    if code and not (code == PARTLY and found and "xs: " not in err):
        raise said(err)
    return found, code == 0


def _file(line: str) -> File | None:
    match = _LINE.fullmatch(line)
    if not match:
        return None
    name = match["name"].rpartition(" -> ")[0] if match["kind"] == "l" else match["name"]
    raw = _ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 255]), name.encode("utf-8", "surrogateescape"))
    year, month, day, hour, minute, second = map(int, re.split("[/ :]", match["when"]))
    when = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    return File(os.fsdecode(raw), match["kind"], int(re.sub("[.,]", "", match["size"])), int(when.timestamp()))


def pull(
    remote: Remote,
    source: str,
    into: Path,
    *,
    rules: Sequence[str] = (),
    cancel: threading.Event | None = None,
    progress: Progress | None = None,
) -> None:
    """Make `into` hold what `source` on the server holds and the filter `rules` let through; raise Trouble.

    What came before a connection broke off stays, and the next pull goes on from there. What the server cannot read
    is not there at the end: whoever has its listing sees that.
    """  # fmt: skip
    into.mkdir(parents=True, exist_ok=True)
    words = [*_LETTERS, "--partial", _TIMEOUT, remote.place(source + "/"), f"{into}/"]
    code, err = _transfer(remote, words, rules, cancel, progress)
    stopped = _stopped_pull(code, err)
    if stopped:
        raise stopped


def _stopped_pull(code: int, err: str) -> Trouble | None:
    if code in (0, VANISHED):
        return None
    # The server only reads, so it is this disk.
    if "No space left on device" in err or "Disk quota exceeded" in err:
        return Trouble("room")
    if "Read-only file system" in err:
        return Trouble("disk")
    return None if code == PARTLY and "xs: " not in err else said(err)


def push(
    remote: Remote,
    source: Path,
    target: str,
    *,
    rules: Sequence[str] = (),
    cancel: threading.Event | None = None,
    progress: Progress | None = None,
) -> int:
    """Make `target` on the server a mirror of `source`, but for what the filter `rules` leave out; raise Trouble.

    Return rsync's code: 0, or 24 where files vanished meanwhile, which is as complete.
    """  # fmt: skip
    words = [*_LETTERS, "--partial", "--delete", _TIMEOUT, f"{source}/", remote.place(target)]
    code, err = _transfer(remote, words, rules, cancel, progress)
    if code == PARTLY and "xs: " not in err:
        raise Trouble("partly")
    if code not in (0, VANISHED):
        raise said(err)
    return code


def hand_over(remote: Remote, file: Path, target: str) -> None:
    """Send the one `file` to `target` on the server; raise Trouble."""
    code, err = _run(
        ["rsync", *_LETTERS, _TIMEOUT, *remote.options(), str(file), remote.place(target)], None, None, None
    )
    if code:
        raise said(err)


def _transfer(
    remote: Remote, words: Sequence[str], rules: Sequence[str], cancel: threading.Event | None,
    progress: Progress | None,
) -> tuple[int, str]:  # fmt: skip
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(rule + "\n" for rule in rules)
        file.flush()
        chosen = [f"--filter=merge {file.name}"] if rules else []
        shown = ["--info=progress2", "--no-human-readable"] if progress else []
        return _run(["rsync", *shown, *chosen, *remote.options(), *words], None, cancel, progress)


_SO_FAR = re.compile(rb"[\r\n]\s*(\d+)\s+\d+%")


def _run(
    command: list[str], out: IO[bytes] | None, cancel: threading.Event | None, progress: Progress | None
) -> tuple[int, str]:
    """Run `command` to its end or until `cancel` is set; return its code and what it said on standard error."""
    with tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out if out is not None else subprocess.PIPE, stderr=err,
            env={**os.environ, **_ENVIRONMENT},
        )  # fmt: skip
        watcher = _end_when(cancel, process) if cancel else None
        try:
            if process.stdout is not None:
                _follow(process.stdout.fileno(), progress)
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            if watcher:
                watcher.join()
        if cancel and cancel.is_set():
            raise Trouble("cancelled")
        err.seek(0)
        return code, err.read(100_000).decode("utf-8", "replace")


def _follow(descriptor: int, progress: Progress | None) -> None:
    """Read what rsync prints until it ends, and tell `progress` of each new figure."""
    rest = b""
    while True:
        read = os.read(descriptor, 65536)
        if not read:
            return
        found = _SO_FAR.findall(rest + read)
        rest = read[-100:]
        time.sleep(_BREATH)
        if found and progress:
            progress(int(found[-1]))


def _end_when(cancel: threading.Event, process: subprocess.Popen[bytes]) -> threading.Thread:
    """Return a started thread that ends `process` once `cancel` is set."""

    def watch() -> None:
        while process.poll() is None:
            if cancel.wait(0.2):
                process.send_signal(signal.SIGTERM)
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread
