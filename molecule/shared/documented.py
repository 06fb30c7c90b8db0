# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that the documentation tells people to type, so that tests can type them."""

from __future__ import annotations

import re
from dataclasses import dataclass

# <!-- run: technician -->, a fenced block of commands, and often a block with what they print.
_BLOCK = re.compile(
    r"(?:^<!-- run: (?P<who>[a-z0-9]+) -->\n)?^```sh\n(?P<text>.*?)^```$(?:\n+```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block: who runs it and what it prints (None where the page does not say), the line of its fence."""

    who: str | None
    text: str
    output: str | None
    line: int

    @property
    def commands(self) -> list[str]:
        """Its commands one by one; one that ends in a backslash goes on in the next line."""
        lines = self.text.replace("\\\n", "").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def blocks(markdown: str) -> list[Block]:
    """Return the blocks of commands in `markdown`, in order."""
    return [
        Block(match["who"], match["text"], match["output"], markdown.count("\n", 0, match.start("text")))
        for match in _BLOCK.finditer(markdown)
    ]
