# SPDX-License-Identifier: GPL-3.0-or-later
"""Killing a run right before a system call that changes the disk, at each such call in turn.

Between two of them the disk stands still, so these kills and the undisturbed end are all that a crash can leave.
The run is a function, called in a forked process of its own. strace attaches before it starts: nothing of Python's own
start is counted, and a kill takes hundredths of a second.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

Action = Callable[[], object]

# With a question mark strace passes over those that this kind of machine does not have.
_CHANGING = (
    "?openat,?open,?openat2,?creat,?mknod,?mknodat,?mkdir,?mkdirat,?rmdir,?unlink,?unlinkat,?rename,?renameat,?renameat2,"
    "?link,?linkat,?symlink,?symlinkat,?write,?writev,?pwrite64,?pwritev,?pwritev2,?sendfile,?splice,?copy_file_range,"
    "?truncate,?ftruncate,?fallocate,?chmod,?fchmod,?fchmodat,?fchmodat2,?chown,?fchown,?lchown,?fchownat,?setxattr,"
    "?lsetxattr,?fsetxattr,?removexattr,?lremovexattr,?fremovexattr,?utime,?utimes,?futimesat,?utimensat,?ioctl,?fsync,"
    "?fdatasync,?sync_file_range,?sync,?syncfs"
)
_OPENING = {"openat", "open", "openat2"}
_LINE = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\w+|\?)")
_PATH = re.compile(r'"(/[^"]*)"|\d<(/[^>]*)>')
_SAID = 4000  # characters of a failed run's traceback: a pipe holds them, so that nobody has to read meanwhile


@dataclass(frozen=True)
class Call:
    """One system call of a run that changed the disk."""

    name: str
    path: str  # the first that it names
    turn: int  # it is the turn-th of its name, from 1, among those that name this path
    text: str  # as strace prints it, without contents

    def __str__(self) -> str:
        return f"{self.text}, number {self.turn} of its kind"


def missing() -> str:
    """Return why nothing can be killed here, or "" if it can."""
    return "" if shutil.which("strace") else "strace is not installed: make setup"


def calls(act: Action, below: Path) -> list[Call]:
    """Call `act` in a process of its own and return, in order, all that it changed below the directory `below`.

    A call that failed changed nothing. What processes that `act` starts change is not seen.
    """
    lines, status, said = _traced(act, [])
    assert status == 0, f"the run failed undisturbed: {said}"
    found: list[Call] = []
    seen: dict[tuple[str, str], int] = {}
    for name, arguments, result in filter(None, map(_taken_apart, lines)):
        paths = [path for pair in _PATH.findall(arguments) for path in pair if path]
        for path in set(paths):
            seen[name, path] = seen.get((name, path), 0) + 1
        ours = [path for path in paths if Path(path).is_relative_to(below)]
        if ours and result != "-1" and _changes(name, arguments):
            found.append(Call(name, ours[0], seen[name, ours[0]], _text(name, arguments)))
    return found


def kill_before(call: Call, act: Action) -> None:
    """Call `act`, which is about to do the same as it did for calls(), in a process of its own; kill it at `call`."""
    kill = f"inject={call.name}:signal=KILL:when={call.turn}"
    # strace counts each system call for itself. With the path filter it counts only those that calls() counted; what a
    # run reads may change from one to the next, with what Python or libc have in memory by then.
    lines, status, said = _traced(act, ["-P", call.path, "-e", kill])
    assert os.WIFSIGNALED(status), f"the run did not come to {call}: {said}"
    last = [apart for apart in map(_taken_apart, lines) if apart][-1]
    assert _text(*last[:2]) == call.text, f"the run was killed before {_text(*last[:2])}, not {call}"


def spread(points: Sequence[Call], most: int) -> list[Call]:
    """Return `most` of `points`, or all if they are fewer, evenly spread from the first to the last."""
    if len(points) <= most:
        return list(points)
    return [points[number * (len(points) - 1) // (most - 1)] for number in range(most)]


def crash_at_each(points: Sequence[Call], prepare: Action, act: Action, check: Action) -> None:
    """For each of `points`: call `prepare`, kill `act` there, and call `check`, whose failure names the point."""
    for number, call in enumerate(points, start=1):
        try:
            prepare()
            kill_before(call, act)
            check()
        except BaseException as error:
            error.add_note(f"killed before call {number} of {len(points)}: {call}")
            raise


def stopped_before(change: int | None, act: Action, changes: Sequence[tuple[object, str]]) -> int | None:
    """Call `act` in a process of its own that is gone, as by kill -9, before its `change`-th call of one of `changes`.

    These are functions, as (where it stands, name). Return how many it called, None if it was stopped. Coarser than
    kill_before(), and ten times as fast.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        made = 0

        def counted(call: Callable[..., object]) -> Callable[..., object]:
            def step(*args: object, **named: object) -> object:
                nonlocal made
                if made == change:
                    os._exit(1)
                made += 1
                return call(*args, **named)

            return step

        try:
            for owner, name in changes:
                setattr(owner, name, counted(getattr(owner, name)))
            act()
            os.write(writer, str(made).encode())
        except BaseException:
            os.write(writer, traceback.format_exc()[-_SAID:].encode())
        finally:
            os._exit(0)  # not sys.exit: the end of the test run is not this process's to celebrate
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader) as answer:
        said = answer.read()
    assert said == "" or said.isdigit(), f"the run failed undisturbed: {said}"
    return int(said) if said else None


def _traced(act: Action, options: list[str]) -> tuple[list[str], int, str]:
    """Run `act` in a process of its own under strace with `options`; return the trace, its wait status, its error."""
    started, start = os.pipe()
    said, say = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(start)
        _run(act, started, say)
    os.close(started)
    os.close(say)
    command = ["strace", "-p", str(process), "-e", f"trace={_CHANGING}", "-y", "-s", "0", *options]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")
    status = None
    try:
        assert strace.stderr is not None
        attached = strace.stderr.readline()
        while "resolved into" in attached:  # what -P makes of a path that leads through a link
            attached = strace.stderr.readline()
        if "attached" not in attached:
            pytest.skip(f"strace may not trace here: {attached.strip()}")
        os.write(start, b"!")
        lines = list(strace.stderr)
        status = os.waitpid(process, 0)[1]
        return lines, status, os.read(said, _SAID * 4).decode(errors="replace")
    finally:
        os.close(start)
        os.close(said)
        strace.kill()
        strace.communicate()
        if status is None:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _run(act: Action, started: int, say: int) -> None:
    """Call `act` once a byte comes from `started`, and end this process; never returns."""
    status = 1
    try:
        if os.read(started, 1):
            act()
            status = 0
    except BaseException:
        os.write(say, traceback.format_exc()[-_SAID:].encode())
    finally:
        os._exit(status)  # not sys.exit: the end of the test run is not this process's to celebrate


def _taken_apart(line: str) -> tuple[str, str, str] | None:
    found = _LINE.match(line)
    return (found["name"], found["arguments"], found["result"]) if found else None


def _changes(name: str, arguments: str) -> bool:
    if name in _OPENING:
        return any(flag in arguments for flag in ("O_CREAT", "O_TRUNC", "O_TMPFILE"))
    # Of an ioctl only what plainly asks is left out: one that strace has no name for is taken for a change.
    return name != "ioctl" or not re.search(r"TCGETS|TIOC|FIO|_GET|_INFO|_SEARCH", arguments)


def _text(name: str, arguments: str) -> str:
    # The number of a descriptor may change from one run to the next; a call that was killed has no answer.
    asked = re.sub(r" (=> .*|<unfinished \.\.\.>)$", "", arguments)
    return f"{name}({re.sub(r'[0-9]+<', '<', asked)})"
