# SPDX-License-Identifier: GPL-3.0-or-later
"""What the client asks the school server: may I, over HTTP, and what it keeps, over ssh (PROTOCOL.md sections 3, 9)."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import tempfile
import threading
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

from xo_client import __version__
from xo_client import words as sentences
from xo_client.connection import Connection
from xo_client.errors import Trouble
from xo_client.registration import Registered
from xo_client.state import State

_VERSION = "1"  # of the permission protocol
_HTTP_SECONDS = 15.0
_SSH_SECONDS = 60.0
_LONGEST = 4_000_000  # bytes of an answer: twenty trees with a thousand snapshots have less
_LONGEST_WORDS = 100_000  # bytes on standard error that are looked at
_WORD = re.compile(r"[a-z]{1,20}", re.ASCII)


class Permission(NamedTuple):
    """What the server says to a laptop that asks whether it may start."""

    status: int  # HTTP's
    reason: str  # one word, "" with a yes and from an old server
    retry_after: int | None  # seconds


def time_now(host: str) -> datetime:
    """Return the school server's time (UTC); raise Trouble (away) where there is no school server of that name.

    It asks for what the server does not have and lists, with its versions: that takes no place from anybody.
    """
    status, headers, body = _get(host, "/backup/")
    if status != 404 or _VERSION not in body.split():
        raise Trouble("away")
    try:
        when = parsedate_to_datetime(headers.get("Date", ""))
        return when.astimezone(timezone.utc)
    except (TypeError, ValueError, OverflowError):
        raise Trouble("away") from None


def may_i(host: str, serial: str) -> Permission:
    """Ask for a place, and return the answer; raise Trouble (away) where nobody answers."""
    status, headers, _ = _get(host, f"/backup/{_VERSION}/available/{serial}")
    word, seconds = headers.get("X-XS-Reason", ""), headers.get("Retry-After", "")
    wait = int(seconds) if re.fullmatch("[0-9]{1,9}", seconds, re.ASCII) else None
    return Permission(status, word if _WORD.fullmatch(word) else "", wait)


def refusal(answer: Permission) -> Trouble | None:
    """Return what stops a backup after this answer; None: go now."""
    if answer.status == 200:
        return None
    if answer.status == 503:
        reason = answer.reason if answer.reason in ("full", "trouble") else "busy"
        return Trouble(reason, retry_after=answer.retry_after)
    if answer.status == 403:
        return Trouble(answer.reason if answer.reason in ("retired", "unknown") else "unknown")
    return Trouble("trouble")


def _get(host: str, path: str) -> tuple[int, Any, str]:
    connection = Connection(host, 80, timeout=_HTTP_SECONDS)
    try:
        connection.request("GET", path, headers={"User-Agent": f"xo-client/{__version__}"})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read(1000).decode("ascii", "replace")
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a host that is no host
        raise Trouble("away") from error
    finally:
        connection.close()


def ssh(state: State, at: Registered) -> list[str]:
    """Return the ssh command that logs in at the server, without what it shall run.

    The server's key is learnt at the first login after a registration and then asked for at each: else any network with
    a machine called schoolserver would be sent all that a child has. It is the school's own key, of a type of its own,
    and stays the same when the server gets another machine (roles/xs_accounts/tasks/configure_school_key.yml).
    """
    options = {
        "BatchMode": "yes",
        "PasswordAuthentication": "no",
        "IdentitiesOnly": "yes",
        "IdentityFile": _path(state.key),
        "UserKnownHostsFile": _path(state.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlgorithms": "ecdsa-sha2-nistp256",
        "HostKeyAlias": "xs-school-server",
        "StrictHostKeyChecking": "accept-new",
        "ConnectTimeout": "20",
        "ServerAliveInterval": "30",
        "ServerAliveCountMax": "4",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "ClearAllForwardings": "yes",
        "LogLevel": "ERROR",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "/dev/null", *words, "-l", at.login, at.host]


def _path(path: Path) -> str:
    """Return `path` as a value of ssh_config(5), where a space ends it and a per cent sign means something."""
    return '"' + str(path).replace("%", "%%") + '"'


def ask(state: State, at: Registered, verb: str) -> dict[str, Any]:
    """Return the server's answer to `xs <verb>`; raise Trouble."""
    try:
        code, out, err = _ended([*ssh(state, at), f"xs {verb}"])
    except OSError as error:
        raise Trouble("disk") from error
    if code:
        raise said(err)
    try:
        answer = json.loads(out.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Trouble("trouble") from None
    if not isinstance(answer, dict) or answer.get("protocol") != 1:
        raise Trouble("trouble")
    return answer


def _ended(command: list[str]) -> tuple[int, bytes, str]:
    """Run `command` and return its code and what it said; raise Trouble for what says too much, or nothing in time."""
    late = threading.Event()
    process: subprocess.Popen[bytes] | None = None

    def end() -> None:
        late.set()
        if process:
            process.kill()

    clock = threading.Timer(_SSH_SECONDS, end)
    clock.daemon = True
    with tempfile.TemporaryFile() as err:
        try:  # around all of it: a signal may end this at any line, and must not wait for the server
            clock.start()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err)
            # Read piece by piece: subprocess would keep all that comes, and a laptop has 1 GB.
            out = process.stdout.read(_LONGEST + 1) if process.stdout else b""
            if len(out) > _LONGEST:
                process.kill()
            code = process.wait()
        finally:
            clock.cancel()
            if process:
                process.kill()
                process.wait()
                if process.stdout:
                    process.stdout.close()
        if late.is_set():
            raise Trouble("network")
        if len(out) > _LONGEST:
            raise Trouble("trouble")
        err.seek(0)
        return code, out, err.read(_LONGEST_WORDS).decode("utf-8", "replace")


_SENTENCE = re.compile(r"^xs: (?P<words>.{1,300})$", re.MULTILINE)
_SECONDS = re.compile(r"try again in (?P<seconds>[0-9]{1,6}) s", re.ASCII)


def said(err: str) -> Trouble:
    """Return the trouble behind an ssh or rsync session that failed and said `err`.

    The gate's own words begin with "xs: "; everything else is ssh's and rsync's, for the log.
    """
    words = _SENTENCE.search(err)
    if words:
        return _gates_words(words["words"])
    if "Host key verification failed" in err or "HOST IDENTIFICATION HAS CHANGED" in err.upper():
        return Trouble("stranger")
    if "Permission denied" in err:
        return Trouble("unknown")
    return Trouble("network")


def _gates_words(raw: str) -> Trouble:
    words = sentences.shown(raw)
    sentence = words[:1].upper() + words[1:] + "." if words else ""
    wait = _SECONDS.search(words)
    if "is busy" in words or "still open" in words:
        return Trouble("busy", retry_after=int(wait["seconds"]) if wait else None)
    if "is full" in words or "from this laptop" in words:
        return Trouble("full", sentence)
    if "does not know this laptop" in words:
        return Trouble("unknown")
    if "has no" in words:
        return Trouble("nothing")
    return Trouble("trouble", sentence)
