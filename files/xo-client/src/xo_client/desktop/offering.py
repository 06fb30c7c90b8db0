# SPDX-License-Identifier: GPL-3.0-or-later
"""Offers the restore that waits, once a session: after a reflash a child need not know that there is one."""

from __future__ import annotations

from typing import Any

from gi.repository import Gio, GLib
from sugar3 import env

from xo_client.desktop import shown, window

_SECONDS = 5  # between two looks, and before the first: Sugar's start has its own windows


class _Watch:
    """Looks at offer.json now, and whenever it changes, until it has asked."""

    def __init__(self) -> None:
        self._file = Gio.File.new_for_path(env.get_profile_path("xo-client/offer.json"))
        # The folder may not be there yet; inotify through Gio waits for it.
        self._monitor = self._file.monitor_file(Gio.FileMonitorFlags.WATCH_MOVES, None)
        self._monitor.connect("changed", self.__changed_cb)
        self._asked = False
        self._timer = 0  # GLib's number of it
        self.__changed_cb()

    def __changed_cb(self, *_: Any) -> None:
        if not self._asked and not self._timer:
            self._timer = GLib.timeout_add_seconds(_SECONDS, self.__look_cb)

    def __look_cb(self) -> bool:
        if window.is_open() or window.activities_are_open():
            return True  # not in the middle of something else; and a restore could not start anyway
        self._timer = 0
        try:
            _, content, _ = self._file.load_contents(None)
        except GLib.Error:
            return False  # nothing is offered
        record = shown.parse(bytes(content).decode("utf-8", "replace"))
        if record is not None:
            self._asked = True
            window.offer(record)
        return False


_watch: _Watch | None = None


def watch() -> None:
    """Begin to watch, for as long as Sugar runs."""
    global _watch  # noqa: PLW0603  it must outlive this call
    _watch = _Watch()
