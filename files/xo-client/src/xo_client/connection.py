# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP to whatever calls itself schoolserver in this network."""

from __future__ import annotations

import http.client
import socket
import threading
from contextlib import suppress


class Connection(http.client.HTTPConnection):
    """A connection that is over after `timeout` seconds. Python's own timeout is one for each byte, so a machine that
    sends one a while would hold a run, and with it every backup of this laptop, for as long as it likes.
    """

    def __init__(self, host: str, port: int | None = None, *, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._seconds = timeout

    def connect(self) -> None:
        """Connect, and let the time run from here."""
        super().connect()
        end = threading.Timer(self._seconds, _end, [self.sock])
        end.daemon = True
        end.start()


def _end(connected: socket.socket) -> None:
    with suppress(OSError):  # it has ended
        connected.shutdown(socket.SHUT_RDWR)
