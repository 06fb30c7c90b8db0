#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""See what is on the child's screen, and click on it, by the words that stand there (AT-SPI tells where they are).

    screen.py wait <seconds> <words>   until something that begins with the words (a regular expression) is shown
    screen.py click <words> [role]     on its middle; of several the one that was opened last
    screen.py above <words>            on what stands above it: a figure whose name it is
    screen.py menu                     open the menu of the child's figure in the middle
    screen.py activity                 start the one whose sign is above that figure: Browse
    screen.py key <name>               press a key: F3 is Sugar's home view, F5 the Journal, F6 the frame
    screen.py search <words>           write them into the search field at the top
    screen.py picture <file.png>       keep a picture of the screen

Each says all that is shown then: [[role, words], …].
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import gi

gi.require_version("Atspi", "2.0")
from gi.repository import Atspi, GLib  # noqa: E402

DISPLAY = ":9"
ABOVE = 48  # pixels
SECONDS = 20.0  # for what a click needs to be there


class Thing(NamedTuple):
    """Something with words on the screen, and the middle of it in pixels."""

    role: str
    words: str
    x: int
    y: int


def main() -> None:
    """Do what the words say."""
    verb, *rest = sys.argv[1:]
    if verb == "wait":
        wait(rest[1], float(rest[0]))
    elif verb == "click":
        role = rest[1] if rest[1:] else ""
        thing = settled(rest[0], role)
        hands("mousemove", str(thing.x), str(thing.y), "click", "1")
    elif verb == "above":
        thing = settled(rest[0], "")
        hands("mousemove", str(thing.x), str(thing.y - ABOVE), "click", "1")
    elif verb == "menu":
        hands("mousemove", "600", "450", "click", "3")
    elif verb == "activity":
        hands("mousemove", "605", "320", "click", "1")
    elif verb == "key":
        hands("key", rest[0])
    elif verb == "search":
        hands("mousemove", "400", "29", "click", "1")
        hands("type", rest[0])
    elif verb == "picture":
        subprocess.run(("import", "-display", DISPLAY, "-window", "root", rest[0]), check=True)
    print(json.dumps([[thing.role, thing.words] for thing in shown()]))


def wait(words: str, seconds: float, role: str = "") -> Thing:
    """Return the last thing that begins with `words`; end with what is shown instead after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        things = list(shown())
        found = [one for one in things if re.match(words, one.words) and role in ("", one.role)]
        if found:
            return found[-1]
        if time.monotonic() > end:
            instead = [one.words for one in things if one.words]
            sys.exit(f"not within {seconds:.0f} s: {role} {words!r}; shown: {instead}")
        time.sleep(0.2)


def settled(words: str, role: str) -> Thing:
    """Return the thing once it stands still: a window that opens moves its buttons."""
    before = wait(words, SECONDS, role)
    while True:
        time.sleep(0.3)
        now = wait(words, SECONDS, role)
        if now == before:
            return now
        before = now


def shown() -> Iterator[Thing]:
    """Yield all that is on the screen, in the order in which it was opened."""
    desk = Atspi.get_desktop(0)
    for number in range(desk.get_child_count()):
        yield from within(desk.get_child_at_index(number))


def within(one: Any) -> Iterator[Thing]:
    """Yield `one` and what is in it."""
    try:
        if one is None:
            return
        if one.get_state_set().contains(Atspi.StateType.SHOWING):
            box = one.get_extents(Atspi.CoordType.SCREEN)
            if box.x >= 0 and box.width > 0:
                yield Thing(one.get_role_name(), one.get_name() or "", box.x + box.width // 2, box.y + box.height // 2)
        for number in range(one.get_child_count()):
            yield from within(one.get_child_at_index(number))
    except GLib.Error:  # it went away while we looked
        return


def hands(*words: str) -> None:
    """Move the pointer and press buttons and keys, as xdotool(1) says."""
    subprocess.run(("xdotool", *words), check=True, env={"DISPLAY": DISPLAY, "PATH": "/usr/bin:/bin"})


if __name__ == "__main__":
    main()
