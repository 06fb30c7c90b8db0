# SPDX-License-Identifier: GPL-3.0-or-later
"""What the school publishes for its laptops, as `publication.json` says it over HTTP: a hint and no more.

Whoever answers as schoolserver can write it. So it only saves work where all is as it should be, and is shown; what is
installed comes from the signed lists (`apt.py`).
"""

from __future__ import annotations

import http.client
import json
import re
from contextlib import closing
from typing import NamedTuple

from xo_client import __version__
from xo_client.connection import Connection

PATH = "/client/publication.json"
_SECONDS = 15.0
_LONGEST = 65536  # bytes; a real one has a thousand
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+~]{0,60}", re.ASCII)  # as the server takes it: client_package.py


class Published(NamedTuple):
    """The versions that the school has; "" where it does not say one."""

    client: str
    school: str


def fetch(host: str) -> Published | None:
    """Return what the school server `host` says; None where nobody answers, or no school server."""
    try:
        with closing(Connection(host, 80, timeout=_SECONDS)) as connection:
            connection.request("GET", PATH, headers={"User-Agent": f"xo-client/{__version__}"})
            answer = connection.getresponse()
            return parse(answer.read(_LONGEST + 1)) if answer.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):  # ValueError: a host that is no host
        return None


def parse(text: bytes) -> Published | None:
    """Return what `text`, a publication.json from anywhere, says; None where it is none."""
    if len(text) > _LONGEST:
        return None
    try:
        record = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    client = version(record.get("version"))
    return Published(client, version(record.get("school"))) if client else None


def version(value: object) -> str:
    """Return `value` if it is the version of a package, else ""."""
    return value if isinstance(value, str) and _VERSION.fullmatch(value) else ""
