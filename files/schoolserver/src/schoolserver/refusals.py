# SPDX-License-Identifier: GPL-3.0-or-later
"""Who was refused lately, so that `xs laptop list` shows it to who can help. Derived from traffic: lost is no loss."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from schoolserver import durable, identity
from schoolserver.local_socket import Message

MOST = 100  # remembered; thousands of invented serials fill no disk, and push out only each other
_LONGEST = 40  # characters of what a laptop said


@dataclass(frozen=True)
class Refused:
    """One laptop's refusals for one reason."""

    serial: str  # as claimed, made printable
    nick: str
    address: str
    why: str
    last: str  # server time, UTC
    times: int


def add(known: Sequence[Refused], message: Message, why: str, when: str) -> list[Refused]:
    """Return `known` with the refusal of the registration `message`, the newest last; a repeated one is counted."""
    serial, nick, address = (_shown(message.get(name)) for name in ("serial", "nick", "address"))
    others = [one for one in known if (one.serial, one.why) != (serial, why)]
    times = 1 + sum(one.times for one in known if (one.serial, one.why) == (serial, why))
    return [*others, Refused(serial, nick, address, why, when, times)][-MOST:]


def read(file: Path) -> list[Refused]:
    """Return what stands in `file`, the newest last; nothing when it is missing or damaged."""
    try:
        return [Refused(**one) for one in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def write(file: Path, refused: Iterable[Refused], gid: int) -> None:
    """Replace `file`, readable by the group `gid`; raise OSError."""
    text = json.dumps([asdict(one) for one in refused], ensure_ascii=False, indent=1) + "\n"
    durable.replace(file, text, 0o640, gid, derived=True)


def _shown(text: object) -> str:
    # A laptop's words reach a technician's terminal: no escape sequence, no second line.
    words = text if isinstance(text, str) else ""
    return "".join(c if c.isprintable() or c in identity.JOINERS else "?" for c in words[:_LONGEST])
