# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings that the roles write to /etc/xs/<part>.toml, checked when they are read.

A missing file or key means the default, so a part starts on a machine where its role has not run yet.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from schoolserver import paths
from schoolserver.errors import Refusal

GiB = 1024**3


@dataclass(frozen=True)
class Registration:
    """Settings of registration and registrar."""

    host: str = "schoolserver"  # the name that laptops are told to back up to


@dataclass(frozen=True)
class Accounts:
    """Settings of gate and permission."""

    places: int = 8  # sessions at once; measured throughput peaks at 4 to 8 on two cores (facts/peers.md section 2.2)
    lease_seconds: int = 120  # how long a granted laptop may take to connect
    session_seconds: int = 6 * 3600  # total time of one session
    idle_seconds: int = 300  # rsync's --timeout where the client set none
    file_bytes: int = 4 * GiB  # the largest file that a laptop may send
    full_percent: int = 90  # no new backups above this, as laptops in the field know it


@dataclass(frozen=True)
class Snapshots:
    """Settings of snapshot and rotation."""

    keep_days: int = 90  # a snapshot this much older than its tree's newest may go


@dataclass(frozen=True)
class Journal:
    """Settings of the Journal page."""

    address: str = "http://schoolserver"  # what a ticket's link starts with
    ticket_seconds: int = 600  # a ticket is good once, and for this long
    session_seconds: int = 3600  # how long a page stays open after its ticket


PARTS: dict[str, type[Any]] = {
    "registration": Registration,
    "accounts": Accounts,
    "snapshots": Snapshots,
    "journal": Journal,
}


def load(part: str, directory: Path = paths.SETTINGS) -> Any:
    """Return the settings dataclass of `part` from `directory`/<part>.toml; raise Refusal naming file, key and fix."""
    file = directory / f"{part}.toml"
    try:
        return parse(part, file.read_text(encoding="utf-8"), str(file))
    except FileNotFoundError:
        return PARTS[part]()


def parse(part: str, text: str, name: str) -> Any:
    """Return the settings dataclass of `part` from TOML `text`; `name` is what a Refusal calls it."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refusal(f"{name}: not TOML: {error}") from error
    known = {field.name: type(field.default) for field in fields(PARTS[part])}
    for key, value in given.items():
        if key not in known:
            raise Refusal(f"{name}: unknown setting {key}; known here: {', '.join(known)}")
        if type(value) is not known[key]:
            raise Refusal(f"{name}: {key} must be of type {known[key].__name__}, not {type(value).__name__}")
        if isinstance(value, int) and value <= 0:
            raise Refusal(f"{name}: {key} must be above zero")
    return PARTS[part](**given)
