# SPDX-License-Identifier: GPL-3.0-or-later
"""How long work is told about: a bar in a terminal, lines of JSON to a program (Sugar's window), or nothing."""

from __future__ import annotations

import io
import json
import shutil
import sys
from contextlib import suppress
from typing import Any, NamedTuple, TextIO

from xo_client.errors import Trouble

DONE, NOT_DONE, WRONG_WORDS, CANCELLED = 0, 1, 2, 3  # exit codes
_WORDS = {
    "ask": "Asking the school server",
    "fetch": "Getting documents",
    "check": "Checking documents",
    "move": "Putting documents into the Journal",
    "send": "Sending documents",
}
_BAR = 24  # columns


class Step(NamedTuple):
    """Where the work stands."""

    phase: str  # a key of _WORDS
    documents: int
    of_documents: int
    bytes: int
    of_bytes: int

    @property
    def fraction(self) -> float:
        """How much is done, 0 to 1: by bytes where there are any, else by documents."""
        if self.of_bytes:
            return min(1.0, self.bytes / self.of_bytes)
        return min(1.0, self.documents / self.of_documents) if self.of_documents else 0.0


class Printer:
    """Prints nothing until the end, and then one sentence."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout

    def plan(self, **facts: Any) -> None:
        """Tell what is going to be done."""

    def step(self, step: Step) -> None:
        """Tell where the work stands."""

    def end(self, outcome: str, reason: str, message: str, **facts: Any) -> None:  # noqa: ARG002
        """Tell how it ended, once: done, nothing, cancelled or failed, and why."""
        self._line(message, self._out if outcome in ("done", "nothing") else sys.stderr)

    def done(self, outcome: str, message: str, **facts: Any) -> int:
        """Tell that it went well (`outcome`: done or nothing) and return the exit code."""
        self.end(outcome, outcome, message, retry=False, **facts)
        return DONE

    def failed(self, trouble: Trouble, **facts: Any) -> int:
        """Tell what stopped it and return the exit code."""
        outcome = "cancelled" if trouble.reason == "cancelled" else "failed"
        self.end(outcome, trouble.reason, trouble.message, retry=trouble.passes or outcome == "cancelled", **facts)
        return CANCELLED if outcome == "cancelled" else NOT_DONE

    def _line(self, text: str, out: TextIO) -> None:
        with suppress(BrokenPipeError):  # nobody reads any more; the work goes on
            print(text, file=out, flush=True)


class JsonPrinter(Printer):
    """Prints an object a line."""

    def plan(self, **facts: Any) -> None:
        self._object({"event": "plan", **facts})

    def step(self, step: Step) -> None:
        self._object({"event": "progress", **step._asdict()})

    def end(self, outcome: str, reason: str, message: str, **facts: Any) -> None:
        self._object({"event": "end", "outcome": outcome, "reason": reason, "message": message, "left": [], **facts})

    def _object(self, fields: dict[str, Any]) -> None:
        self._line(json.dumps(fields, sort_keys=True), self._out)


class BarPrinter(Printer):
    """Draws one line over and over where there is a terminal."""

    def __init__(self, out: TextIO | None = None) -> None:
        super().__init__(out)
        self._drawn = False

    def step(self, step: Step) -> None:
        if not self._out.isatty():
            return
        width = shutil.get_terminal_size().columns - 1
        text = f"\r{bar(step)[:width]:{width}}"
        self._drawn = True
        self._out.write(text)
        self._out.flush()

    def end(self, outcome: str, reason: str, message: str, **facts: Any) -> None:
        if self._drawn:
            self._out.write("\n")
        super().end(outcome, reason, message, **facts)
        left: list[dict[str, str]] = facts.get("left") or []
        for one in left:
            self._line(f"  left on the server: {one['title'] or one['uid']}: {one['why']}", self._out)


def bar(step: Step) -> str:
    """Return one line that shows where the work stands."""
    full = int(step.fraction * _BAR)
    parts = [f"{_WORDS[step.phase]} [{'#' * full}{' ' * (_BAR - full)}]"]
    if step.of_documents:
        parts.append(f"{step.documents} of {step.of_documents} documents")
    if step.of_bytes:
        parts.append(f"{megabytes(step.bytes)} of {megabytes(step.of_bytes)}")
    return ", ".join(parts)


def megabytes(number: int) -> str:
    """Return `number` bytes as a child reads them."""
    return f"{number / 1e6:.1f} MB" if number < 10_000_000 else f"{number / 1e6:.0f} MB"


def printer(kind: str) -> Printer:
    """Return what prints in the way `kind`: bar, json or none."""
    return {"bar": BarPrinter, "json": JsonPrinter, "none": Printer}[kind]()


def speak_in_any_locale() -> None:
    """Let a sign that the terminal's character set has not be a question mark, and no traceback: titles have any."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
