# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings that the roles write to /etc/xs/<part>.toml, checked when they are read.

A missing file or key means the default, so a part starts on a machine where its role has not run yet.
"""

from __future__ import annotations

import tomllib
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from schoolserver import paths
from schoolserver.errors import Refusal

GiB = 1024**3


@dataclass(frozen=True)
class Registration:
    """Settings of registration and registrar."""

    host: str = "schoolserver"  # the name that laptops are told to back up to
    newcomers: str = field(default="open", metadata={"one of": ("open", "list", "closed")})  # who may have an account
    serials: tuple[str, ...] = ()  # those, where newcomers is "list"
    most_laptops: int = 3000  # a stranger's invented serials end here: ten times a large school
    rekey: str = field(default="ask", metadata={"one of": ("ask", "automatic")})  # a known serial with a new key


@dataclass(frozen=True)
class Accounts:
    """Settings of gate and permission."""

    places: int = 8  # sessions at once; measured throughput peaks at 4 to 8 on two cores (facts/peers.md section 2.2)
    lease_seconds: int = 120  # how long a granted laptop may take to connect
    session_seconds: int = 6 * 3600  # total time of one session
    idle_seconds: int = 300  # rsync's --timeout where the client set none
    file_bytes: int = 4 * GiB  # the largest file that a laptop may send
    learner_bytes: int = 20 * GiB  # what one learner may have on the server, apart from snapshots; OLPC planned 2 GB
    learner_files: int = 400_000  # names of any kind: twenty for each of the 20,000 documents that a page lists
    full_percent: int = 90  # no new backups above this, as laptops in the field know it
    stop_percent: int = 95  # nor does one go on above this: the rest is for keepsakes, and for btrfs itself
    dsa: bool = True  # whether sshd takes DSA keys from learners


@dataclass(frozen=True)
class Snapshots:
    """Settings of snapshot and rotation. Ages are days before the newest snapshot of the tree."""

    # `once`: the name of before, under which nothing goes that it kept until the role has written the new file.
    keep_all_days: int = field(default=30, metadata={"once": "keep_days"})  # every snapshot, up to this age
    keep_weekly_days: int = 120  # one of each week, up to this age: a school term
    keep_monthly_days: int = field(default=0, metadata={"least": 0})  # one of each month; 0: for ever
    thin_percent: int = 80  # a fuller disk shortens this, the heaviest learner's first (rotation_plan.py)
    late_days: int = 7  # without a completed run a laptop is late: a child who was ill for a week is not


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
    known = {one.name: one for one in fields(PARTS[part])}
    once = {one.metadata["once"]: one for one in known.values() if "once" in one.metadata}
    taken = {}
    for key, value in given.items():
        setting = known.get(key) or once.get(key)
        if setting is None:
            raise Refusal(f"{name}: unknown setting {key}; known here: {', '.join(known)}")
        wrong = _problem(value, setting)
        if wrong:
            raise Refusal(f"{name}: {key} must be {wrong}")
        if key in known:
            taken[key] = tuple(value) if isinstance(value, list) else value
        elif setting.name not in given:
            # An upgraded package meets the old file until site.yml has run: what that asked to keep stays till then.
            taken[setting.name] = max(value, setting.default)
    return PARTS[part](**taken)


def _problem(value: object, setting: Field[Any]) -> str:
    """Return what `value` must be and is not, "" when it is right."""
    choices: tuple[str, ...] = setting.metadata.get("one of", ())
    if isinstance(setting.default, tuple):
        right = isinstance(value, list) and all(isinstance(one, str) for one in value)
        return "" if right else "a list of texts"
    if type(value) is not type(setting.default):
        return f"of type {type(setting.default).__name__}, not {type(value).__name__}"
    if choices and value not in choices:
        return f"one of {', '.join(choices)}"
    least = setting.metadata.get("least", 1)
    if type(value) is int and value < least:
        return "above zero" if least == 1 else f"{least} or more"
    return ""
