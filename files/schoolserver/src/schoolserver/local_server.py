# SPDX-License-Identifier: GPL-3.0-or-later
"""The side of local_socket.py that answers: sockets that systemd holds, and the kernel says who asks."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable

from schoolserver.errors import Refusal
from schoolserver.local_socket import Message, receive, send

FIRST_INHERITED = 3  # sd_listen_fds(3)
_AWHILE = 60.0  # seconds for which nobody listens to who said nothing
TROUBLE = "the school server has a problem of its own; it is in its log: try again later"


def peer_uid(connection: socket.socket) -> int:
    """Return the uid of the process at the other end, as it was when it connected."""
    # SO_PEERCRED is filled in by the kernel: a laptop that owns its rsync cannot claim another's uid.
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def inherited(name: str) -> socket.socket:
    """Return the listening socket that systemd passed as FileDescriptorName=`name`; raise Refusal if there is none."""
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or name not in names:
        raise Refusal(f"no socket named {name} was passed: start this through its systemd socket unit")
    return socket.socket(fileno=FIRST_INHERITED + names.index(name))


class Silent:
    """Who connected and said nothing. They are not heard for a while: else one of them holds everybody up for hours."""

    def __init__(self) -> None:
        """Know nobody yet."""
        self._until: dict[int, float] = {}

    def add(self, uid: int) -> None:
        """`uid` kept us waiting; the log is told. Root is waited for: it could stop this part anyway."""
        if uid:
            self._until[uid] = time.monotonic() + _AWHILE
            print(f"uid {uid} said nothing, and is not heard for {_AWHILE:.0f} s", file=sys.stderr, flush=True)

    def __contains__(self, uid: int) -> bool:
        """Return whether `uid` kept us waiting a while ago."""
        return self._until.get(uid, 0.0) > time.monotonic()


def serve(listener: socket.socket, answer: Callable[[Message, int], Message], timeout: float = 3.0) -> None:
    """Answer one request a connection for ever, one connection at a time.

    `answer(request, uid)` returns the reply; reply_to() says what becomes of its errors. A client has `timeout` seconds
    for its whole request, and as long to take its answer: a slow one cannot hold up the others for longer, nor soon
    again. What asks here writes its line at once.
    """
    silent = Silent()
    while True:
        connection, _ = listener.accept()
        with connection:
            if (uid := peer_uid(connection)) in silent:
                continue
            connection.settimeout(timeout)
            try:
                reply_to(connection, answer)
            except TimeoutError:
                silent.add(uid)
            except OSError as error:
                print(f"dropped a local connection: {error}", file=sys.stderr, flush=True)


def reply_to(connection: socket.socket, answer: Callable[[Message, int], Message]) -> Message:
    """Read one request, send its answer and return that answer; raise OSError when the other side has gone.

    A Refusal becomes {"ok": false, "error": …}; so does any other error, without telling what it was.
    """
    request = receive(connection)
    try:
        reply = answer(request, peer_uid(connection))
    except Refusal as refusal:
        reply = {"ok": False, "error": str(refusal)}
    except Exception:  # what one request does to us must not end the part for everybody
        traceback.print_exc()
        reply = {"ok": False, "error": TROUBLE}
    send(connection, reply)
    return reply


def in_background(target: Callable[[], None], name: str) -> None:
    """Run `target` in a thread that ends with the process, and the process with it.

    A part that lost one of its sides would look well to systemd for ever; one that ended is started again.
    """

    def run() -> None:
        try:
            target()
        except BaseException:
            traceback.print_exc()
        finally:
            print(f"the thread {name!r} ended, so this part does", file=sys.stderr, flush=True)
            os._exit(1)

    threading.Thread(target=run, name=name, daemon=True).start()
