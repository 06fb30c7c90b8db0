# SPDX-License-Identifier: GPL-3.0-or-later
"""What an update does and what it says: pure, `update.py` gathers the facts and acts."""

from __future__ import annotations

import re
from typing import Callable, NamedTuple, Sequence

from xo_client import words
from xo_client.conditions import LOW_PERCENT, Power

CLIENT, SCHOOL = "xo-client", "xo-school"

Newer = Callable[[str, str], bool]  # whether the first version comes after the second


def not_now(power: Power, *, metered: bool, asked: bool) -> str:
    """Return the reason (of `words.UPDATES`) not to update now, "" where there is none.

    `asked`: a technician asks for it. Else the laptop is charging: an update is no reason to lose a child's work.
    """
    if asked:
        low = not power.mains and power.percent is not None and power.percent < LOW_PERCENT
        return "battery" if low else ""
    if not power.mains:
        return "mains"
    return "metered" if metered else ""


def newest(versions: Sequence[str], newer: Newer) -> str:
    """Return the last of `versions`, "" where there is none."""
    best = ""
    for one in versions:
        if newer(one, best):
            best = one
    return best


def wanted(installed: str, whole: bool, offered: str, newer: Newer) -> str:
    """Return the version of a package to install; "" for none. Never an older one: that is how holes come back.

    One that is not `whole` is mended with what the school has, where that is not older.
    """
    if not offered or not installed:
        return ""
    if newer(offered, installed) or (not whole and offered == installed):
        return offered
    return ""


_CAUSES: tuple[tuple[str, str], ...] = (
    # The first that is found counts: apt says several things of one cause.
    (r"No space left on device|enough free space|Disk quota exceeded", "disk"),
    (r"Read-only file system", "readonly"),
    (r"not valid yet|future|Not live until|not live|created .* after", "clock"),
    (r"NO_PUBKEY|Missing key|EXPKEYSIG|REVKEYSIG|key .*expired", "key"),
    (r"is not signed|not signed|BADSIG|[Ii]nvalid signature|Bad signature|clearsigned|NOSPLIT", "unsigned"),
    (r"Hash Sum mismatch|hashes|unexpected size|File has unexpected size", "tampered"),
    (r"could not be authenticated|unauthenticated", "unsigned"),
    (r"[Hh]eld packages", "held"),
    (r"unmet dependencies|held broken packages|Depends:", "depends"),
    (r"Could not get lock|frontend lock|Unable to acquire the dpkg|is locked by another", "locked"),
    (r"Could not (?:resolve|connect|wait)|Unable to connect|Connection (?:failed|refused|timed out)", "away"),
    (r"Temporary failure|Network is unreachable|connection .*(?:closed|timed)", "away"),
    (r"404 +Not Found|does not have a Release file|Failed to fetch|Unable to fetch", "half"),
    (r"did not end in", "slow"),
)  # fmt: skip
_LINES = re.compile(r"^(?:[EW]: |dpkg: (?:error|warning)|dpkg-deb: ).*$", re.MULTILINE)
_LONGEST = 200  # characters of apt's own words that are shown


def cause(said: str) -> tuple[str, str]:
    """Return the reason (of `words.UPDATES`) and the sentence behind what apt, dpkg or the system `said` in failing."""
    for pattern, reason in _CAUSES:
        if re.search(pattern, said):
            return reason, words.UPDATES[reason]
    lines = [line for line in _LINES.findall(said) if line.strip()] or said.strip().splitlines() or [""]
    return "apt", f"{words.UPDATES['apt']} {words.shown(lines[0])[:_LONGEST]}".strip()


class Check(NamedTuple):
    """What one self-check found."""

    well: bool
    message: str


UPDATER, NOBODY = "", "nobody"  # who is asked besides the children: root's own check, and one with no Journal


def fallen(before: dict[str, Check], after: dict[str, Check]) -> list[str]:
    """Return who does not work with the new version, by the checks `after` it was installed.

    A child who did not work `before` says nothing of a version: her key may be broken, her Journal damaged. The other
    two checks rest on nothing that is a child's, so they must be well: a check that never works would see nothing.
    """
    judges = [who for who in after if who in (UPDATER, NOBODY) or before.get(who, Check(False, "")).well]
    return [who for who in judges if not after[who].well]


def is_to_blame(fell: Sequence[str], again: dict[str, Check]) -> bool:
    """Say whether the new version is bad: some of those who `fell` work `again` now that the old one is back."""
    return any(again[who].well for who in fell if who in again)


def ill(before: dict[str, Check]) -> str:
    """Return what is wrong on this laptop already, by the two checks that must be well; "" where nothing is."""
    return next((before[who].message for who in (UPDATER, NOBODY) if who in before and not before[who].well), "")


def unsound(shown: str, units: int) -> str:
    """Return which of our `units` systemd would not start, by what `systemctl show` has `shown`; "" where all are well.

    A timer or a socket that runs now and that nothing wants would be gone after the next start of the laptop.
    """
    found = [dict(line.partition("=")[::2] for line in one.splitlines()) for one in shown.strip().split("\n\n")]
    if len(found) != units:
        return "systemd does not know our units"
    for one in found:
        name = one.get("Id", "")
        if one.get("LoadState") != "loaded":
            return f"systemd does not take {name}"
        if name.endswith((".timer", ".socket")) and not one.get("WantedBy"):
            return f"nothing starts {name}"
    return ""
