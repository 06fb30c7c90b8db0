# SPDX-License-Identifier: GPL-3.0-or-later
"""However slowly a server answers, a laptop does not wait for longer than it said."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from xo_client.connection import Connection

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


@pytest.fixture(
    params=[b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000, b"HTTP/1.1 100 Continue\r\n\r\n" * 100, _HEAD + b"x" * 1000]
)
def drips(request: pytest.FixtureRequest) -> Iterator[int]:
    """A server that sends its answer byte by byte; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def send() -> None:
            connected, _ = listening.accept()
            with connected:
                try:
                    for byte in request.param:
                        connected.sendall(bytes([byte]))
                        time.sleep(0.05)
                except OSError:
                    return

        threading.Thread(target=send, daemon=True).start()
        yield listening.getsockname()[1]


def test_an_answer_that_drips_ends(drips: int) -> None:
    connection = Connection("127.0.0.1", drips, timeout=3.0)
    began = time.monotonic()
    connection.request("GET", "/")
    with pytest.raises((OSError, http.client.HTTPException)):
        answer = connection.getresponse()
        if len(answer.read(1000)) < 1000:
            raise http.client.IncompleteRead(b"")
    assert time.monotonic() - began < 30  # and not the minute that it would take to send
    connection.close()
