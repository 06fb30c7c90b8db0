# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `xo-backup` or `xo-restore` beside Sugar's shell, whose own loop never waits for it."""

from __future__ import annotations

import signal
from typing import Any, Callable

from gi.repository import Gio, GLib

NOT_STARTED = 127  # what a shell says of a program that is not there


class Program:
    """One running program: each line that it prints, and how it ended, are told as they come."""

    def __init__(self, arguments: list[str], line: Callable[[str], None], ended: Callable[[int], None]) -> None:
        """Start `arguments`. `line` is called with each line, `ended` once with the exit code (minus the signal)."""
        self._line = line
        self._ended = ended
        try:
            self._process = Gio.Subprocess.new(arguments, Gio.SubprocessFlags.STDOUT_PIPE)
        except GLib.Error:
            self._process = None
            GLib.idle_add(self._not_started)
            return
        self._stream = Gio.DataInputStream.new(self._process.get_stdout_pipe())
        self._read()

    def cancel(self) -> None:
        """Ask it to stop. It ends in its own time: what it was doing is then undone, or finished."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def _not_started(self) -> bool:
        self._ended(NOT_STARTED)
        return False

    def _read(self) -> None:
        self._stream.read_line_async(GLib.PRIORITY_DEFAULT, None, self.__read_cb)

    def __read_cb(self, stream: Any, result: Any) -> None:
        try:
            # Not read_line_finish: in Python an empty line and the end are the same to that.
            line, _ = stream.read_line_finish_utf8(result)
        except GLib.Error:
            line = None
        if line is None:
            self._process.wait_async(None, self.__wait_cb)
            return
        self._line(line)
        self._read()

    def __wait_cb(self, process: Any, result: Any) -> None:
        process.wait_finish(result)
        if process.get_if_exited():
            self._ended(process.get_exit_status())
        else:
            self._ended(-process.get_term_sig())
