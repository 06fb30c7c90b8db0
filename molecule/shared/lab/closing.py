# SPDX-License-Identifier: GPL-3.0-or-later
"""The closing table of `make lab`: what was seen at each step, and what there is to try now."""

from __future__ import annotations

import json
import shutil
import textwrap
import unicodedata
from pathlib import Path
from typing import Any

NARROWEST, WIDEST = 80, 132  # columns of the table
TITLE = 34  # columns of a title where there is room


def recorded(file: Path) -> dict[str, Any]:
    """Return what the journey's tests wrote to `file`, {"steps": [...], "journal": {...}}; both empty if nothing."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {"steps": [], "journal": {}}
    return {"steps": [], "journal": {}, **found}


def table(steps: list[dict[str, Any]], columns: int = 0) -> str:
    """Return the table of `steps`, each {"step", "title", "seen", "ok", "seconds"}, as wide as the terminal allows."""
    columns = columns or shutil.get_terminal_size(fallback=(WIDEST, 24)).columns
    room = min(max(columns, NARROWEST), WIDEST) - 24  # less the frame, the step and the time
    title_room = min(TITLE, room * 2 // 5)
    rooms = (4, title_room, room - title_room, 7)
    rule = f"├{'┼'.join('─' * (one + 2) for one in rooms)}┤"
    lines = [rule.translate(str.maketrans("├┼┤", "┌┬┐")), _row(rooms, "step", "what", "what was seen", "   time"), rule]
    for step in steps:
        titles = textwrap.wrap(str(step["title"]), rooms[1]) or [""]
        texts = textwrap.wrap(("" if step["ok"] else "FAILED: ") + str(step["seen"]), rooms[2]) or [""]
        for number in range(max(len(titles), len(texts))):
            first = number == 0
            lines.append(_row(
                rooms,
                str(step["step"]) if first else "",
                titles[number] if number < len(titles) else "",
                texts[number] if number < len(texts) else "",
                f"{float(step['seconds']):5.1f} s" if first else "",
            ))  # fmt: skip
    return "\n".join([*lines, rule.translate(str.maketrans("├┼┤", "└┴┘"))])


def _row(rooms: tuple[int, ...], *texts: str) -> str:
    return f"│ {' │ '.join(text + ' ' * (room - width(text)) for room, text in zip(rooms, texts, strict=True))} │"


def width(text: str) -> int:
    """Return how many columns a terminal takes for `text`: signs that stand on another letter take none."""
    shown = (one for one in text if unicodedata.category(one) not in {"Mn", "Me", "Cf"})
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in shown)


def to_try(journal: dict[str, Any], link: str, address: str, logins: dict[str, str]) -> str:
    """Return what a person can do now: `link` is a ticket or "", `address` the server's, `logins` by host."""
    lines = []
    if link:
        lines += ["The Journal page, good once, for ten minutes:",
                  f"    {link.replace('//schoolserver/', f'//{address}/')}    (from this machine)",
                  f"    {link}    (from the laptop)"]  # fmt: skip
        if title := journal.get("deleted_title"):
            lines.append(f"    Find “{title}” there: it was deleted on the laptop.")
        lines.append(f"    A new link: {logins['schoolserver']} xs page {journal.get('serial', '<serial>')}")
    lines.append("Log in:")
    lines += [f"    {host:14} {command}" for host, command in logins.items()]
    return "\n".join([*lines, "Take it all away: make lab-down"])
