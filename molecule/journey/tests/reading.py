# SPDX-License-Identifier: GPL-3.0-or-later
"""What the journey reads: the Journal page as a browser does, and what a command printed as a person does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser


@dataclass
class Item:
    """One list item of the Journal page: its data- attributes, its text and where its links lead."""

    attributes: dict[str, str]
    text: str
    links: list[str]


class _Items(HTMLParser):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.items: list[Item] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "li":
            self.inside = self.kind in given.get("class", "").split()
            if self.inside:
                data = {name.removeprefix("data-"): value for name, value in given.items() if name.startswith("data-")}
                self.items.append(Item(data, "", []))
        elif tag == "a" and self.inside:
            self.items[-1].links.append(given.get("href", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "li":
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.items[-1].text += data


def items(page: str, kind: str) -> list[Item]:
    """Return the list items of class `kind` ("document" or "version") in the HTML `page`, in order."""
    parser = _Items(kind)
    parser.feed(page)
    parser.close()
    return parser.items


def matches(expected: str, printed: str) -> bool:
    """Say whether `printed` is what the page shows. In it, … stands for the rest of a line, alone for any lines."""
    parts = []
    for line in expected.strip().splitlines():
        if line.strip() == "…":
            parts.append(r"(?:[^\n]*\n)*")
        else:
            parts.append("[^\n]*".join(re.escape(piece) for piece in line.split("…")) + r"\n")
    text = printed.strip()
    return re.fullmatch("".join(parts), f"{text}\n" if text else "") is not None
