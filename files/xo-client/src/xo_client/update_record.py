# SPDX-License-Identifier: GPL-3.0-or-later
"""How the last update ended, where every user of the laptop can read it: `/var/lib/xo-client/update.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from xo_client import durable, publication, words

RECORD = Path("/var/lib/xo-client/update.json")
OUTCOMES = ("updated", "current", "failed", "later")
_LONGEST = 65536  # bytes; root writes it, and a broken disk may say anything
_LONGEST_MESSAGE = 400  # characters


class Record(NamedTuple):
    """One update, or what came in its place."""

    outcome: str  # of OUTCOMES
    version: str  # of xo-client, that is installed now
    was: str  # before
    wanted: str  # the one that the school has; "" where that is not known
    message: str  # one sentence or two, for a person
    at: str  # by the laptop's clock, UTC: 2026-11-26T12:00:00Z
    bad: str = ""  # a version that did not work here: not tried again by itself

    def text(self) -> str:
        """Return it as JSON, one line."""
        return json.dumps(self._asdict(), sort_keys=True) + "\n"


def parse(text: str) -> Record | None:
    """Return the record that `text` holds; None where that is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or str(found.get("outcome")) not in OUTCOMES:
        return None
    version, was, wanted = (publication.version(found.get(name)) for name in ("version", "was", "wanted"))
    return Record(
        str(found["outcome"]),
        version,
        was,
        wanted,
        words.shown(_text(found.get("message")))[:_LONGEST_MESSAGE],
        words.shown(_text(found.get("at")))[:40],
        publication.version(found.get("bad")),
    )


def read(path: Path = RECORD) -> Record | None:
    """Return the record; None where there is none, or a power cut left it broken."""
    try:
        with path.open("r", encoding="utf-8", errors="replace") as file:
            return parse(file.read(_LONGEST))
    except OSError:
        return None


def write(record: Record, path: Path = RECORD) -> None:
    """Write it, whole or not at all; raise OSError."""
    durable.put(path, record.text())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
