# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshots of a tree rotation must leave alone, and why: pins.json in the tree.

    {"2026-11-23T101500Z": {"why": ["bulk-loss", "keepsakes"], "documents": 812, "since": "2026-11-24T101502Z"}}

`keepsakes`: so many documents left after this snapshot that it is kept in their stead. `bulk-loss`: more than half of
the documents were gone after it. `pins-damaged`: this file could not be read, so every snapshot was pinned. Any other
word is a person's own. `documents` counts what left.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schoolserver import durable
from schoolserver.errors import Refusal
from schoolserver.stamps import is_stamp

KEEPSAKES = "keepsakes"
BULK_LOSS = "bulk-loss"
DAMAGED = "pins-damaged"
FILE = "pins.json"


@dataclass(frozen=True)
class Pin:
    """Why one snapshot is pinned, how many documents left after it, and the stamp of the run that found it."""

    why: frozenset[str]
    documents: int
    since: str


Pins = dict[str, Pin]


def read(tree: Path) -> Pins:
    """Return the pins of the tree at `tree`, by stamp; raise Refusal when the file cannot be understood."""
    try:
        return parse((tree / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # To take it for empty would let rotation remove what a person or a loss had pinned.
        raise Refusal(f"{tree / FILE} is damaged ({error}): nothing is removed here until it is repaired") from error


def parse(text: str) -> Pins:
    """Return the pins that `text` holds; raise ValueError, KeyError, TypeError or AttributeError if it holds none."""
    found: Pins = {}
    for stamp, pin in json.loads(text).items():
        if not is_stamp(stamp) or not all(isinstance(word, str) for word in pin["why"]):
            raise ValueError(f"not a pin: {stamp}")
        found[stamp] = Pin(frozenset(pin["why"]), int(pin["documents"]), str(pin["since"]))
    return found


def render(pins: Pins) -> str:
    """Return the text of pins.json."""
    plain = {
        stamp: {"why": sorted(pin.why), "documents": pin.documents, "since": pin.since}
        for stamp, pin in sorted(pins.items())
    }
    return json.dumps(plain, indent=1) + "\n"


def write(tree: Path, pins: Pins) -> None:
    """Replace the pins of the tree, on the disk when this returns; raise OSError."""
    durable.replace(tree / FILE, render(pins), 0o640, tree.stat().st_gid)


def add(pins: Pins, stamp: str, why: str, documents: int, since: str) -> Pins:
    """Return `pins` with `stamp` pinned for the reason `why` as well; the first `since` and the larger count stay."""
    before = pins.get(stamp, Pin(frozenset(), 0, since))
    return {**pins, stamp: Pin(before.why | {why}, max(before.documents, documents), before.since)}


def release(pins: Pins, stamp: str, why: str) -> Pins:
    """Return `pins` without the reason `why` for `stamp`; with no reason left, the pin goes."""
    if stamp not in pins:
        return pins
    reasons = pins[stamp].why - {why}
    rest = {other: pin for other, pin in pins.items() if other != stamp}
    return {**rest, stamp: Pin(reasons, pins[stamp].documents, pins[stamp].since)} if reasons else rest


def best_of(taken: Sequence[str], pins: Pins) -> tuple[str | None, str]:
    """Return which snapshot a restore should offer, and why: the newest, or the last one before a bulk loss."""
    before_loss = [stamp for stamp in taken if stamp in pins and BULK_LOSS in pins[stamp].why]
    if before_loss:
        return before_loss[-1], BULK_LOSS
    return (taken[-1], "newest") if taken else (None, "none")
