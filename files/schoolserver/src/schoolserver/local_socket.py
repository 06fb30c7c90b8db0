# SPDX-License-Identifier: GPL-3.0-or-later
"""One line of JSON in, one line of JSON out, over a unix socket: the side that asks.

Each session's gate imports this and pays for it, so what only the other side needs is in local_server.py.
"""

from __future__ import annotations

import json
import os
import socket
import time

TYPE_CHECKING = False  # as typing has it, which is slow to import
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]
else:
    Message = dict
# The longest request that any part sends is a registration with a 16384-bit RSA key (about 3 kB).
MAX_LINE = 64 * 1024


def ask(path: str | os.PathLike[str], request: Message, timeout: float) -> Message:
    """Send `request` to the socket at `path` and return its answer; raise OSError, after `timeout` seconds in all."""
    until = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(os.fspath(path))
        connection.settimeout(_rest(until))
        send(connection, request)
        connection.settimeout(_rest(until))
        return receive(connection)


def send(connection: socket.socket, message: Message) -> None:
    """Write `message` as one line."""
    connection.sendall(json.dumps(message).encode() + b"\n")


def receive(connection: socket.socket) -> Message:
    """Read one line and return it as a dict; raise OSError on anything else, as if the other side had gone.

    The connection's timeout is that of the whole line.
    """
    timeout = connection.gettimeout()
    until = None if timeout is None else time.monotonic() + timeout
    line = bytearray()
    while not line.endswith(b"\n"):
        if until is not None:
            # One byte now and then would keep a timeout of each recv from ever ending.
            connection.settimeout(_rest(until))
        # One recv never reads past the line: each side waits for the other's answer before it writes again.
        piece = connection.recv(4096)
        if not piece or len(line) > MAX_LINE:
            raise ConnectionError("the other side sent no complete line")
        line += piece
    connection.settimeout(timeout)
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConnectionError("the other side sent no JSON") from error
    if not isinstance(message, dict):
        raise ConnectionError("the other side sent no JSON object")
    return message


def _rest(until: float) -> float:
    rest = until - time.monotonic()
    if rest <= 0:
        raise TimeoutError("the other side took too long")
    return rest
