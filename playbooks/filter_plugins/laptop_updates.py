# SPDX-License-Identifier: GPL-3.0-or-later
"""What update_laptops.yml decides: whom to ask, what an answer means, when to stop, and what the table says.

Everything that a laptop had a hand in is hostile: its nick, its client's name, and all that comes back from it.
"""

from __future__ import annotations

import ipaddress
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

Outcome = dict[str, str]
"""What became of one laptop: "outcome" (a key of KINDS), "version", "was", "message" (all plain text)."""


class Kind(NamedTuple):
    """One outcome, as the table shows it."""

    title: str
    advice: str = ""  # what a person does about it; "" where there is nothing to do


# What needs a person stands first: the table is in this order.
KINDS = {
    "failed": Kind("failed", "xo-backup status on the laptop says more"),
    "untried": Kind("not tried", "run this playbook again when the others work"),
    "stranger": Kind("does not know this school", "install xo-school: http://schoolserver/client/ says how"),
    "closed": Kind("takes no push", "updates by itself; for a push: apt-get install openssh-server"),
    "bare": Kind("no package", "on the laptop: wget -qO- http://schoolserver/client/install | sudo sh"),
    "old": Kind("old client", "goes on backing up as it is; a newer system gets the package (docs/client.md)"),
    "later": Kind("not now", "updates by itself later"),
    "away": Kind("not here", "updates by itself, or run this playbook again"),
    "asked": Kind("would be asked"),
    "updated": Kind("updated"),
    "current": Kind("already current"),
}
ANSWERS = ("updated", "current", "failed", "later")
"""The outcomes that a laptop itself gives; with them it counts as one that answered."""

# What ssh says, and timeout's codes. A laptop can say it as well, and gets no more by it than a wrong line of its own.
_SAYINGS = (
    (r"/library/push-key", "failed", "the school server cannot read its push key: run site.yml"),
    (r"Permission denied", "stranger", ""),
    (r"Connection refused", "closed", ""),
    (r"timed out|No route to host|unreachable|Host is down", "away", ""),
)
_TIMED_OUT = (124, 137)
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+~-]{0,40}", re.ASCII)  # as Debian writes them
_LONGEST = 120


def plain(text: object, longest: int = _LONGEST) -> str:
    """Return `text` as one line of at most `longest` visible signs, with nothing that a terminal or Jinja obeys."""
    # A terminal obeys control signs (a title, a colour, a line moved up over another laptop's), Ansible braces.
    shown = "".join(" " if c.isspace() else c for c in str(text)[: 10 * longest])
    shown = "".join(c for c in shown if unicodedata.category(c)[0] != "C")
    line = " ".join(re.sub(r"[{}]", "?", shown).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def outcome_of(kind: str, message: object = "", version: object = "", was: object = "") -> Outcome:
    """Return an Outcome; `kind` is a key of KINDS, `message` is made plain, a version that is none is left out."""
    versions = {
        key: text if _VERSION.fullmatch(text) else "" for key, text in (("version", str(version)), ("was", str(was)))
    }
    return {"outcome": kind, "message": plain(message), **versions}


def plan(laptops: Mapping[str, Mapping[str, Any]], ready: Iterable[str]) -> dict[str, Outcome]:
    """Return the outcome of each laptop that need not be asked; those that are left out are to be asked.

    `laptops` are the variables that inventory/laptops.py gives, by name; `ready` are the school servers that can push.
    """
    newest: dict[tuple[str, str], tuple[str, str]] = {}
    for name, known in laptops.items():
        place = (str(known.get("xs_school", "")), str(known.get("ansible_host", "")))
        newest[place] = max(newest.get(place, ("", "")), (str(known.get("xs_last_seen") or ""), name))
    found = {}
    for name, known in laptops.items():
        school, address = str(known.get("xs_school", "")), str(known.get("ansible_host", ""))
        client = str(known.get("xs_client", ""))
        if client.startswith("Python-urllib/2"):
            found[name] = outcome_of("old")
        elif client.startswith("Python-urllib/"):
            found[name] = outcome_of("bare")
        elif not _is_address(address):
            found[name] = outcome_of("away", "the school server has not seen it yet")
        elif newest[school, address][1] != name:
            # Addresses are handed on: what answers there now is another laptop, and would be taken for this one.
            found[name] = outcome_of("away", f"{newest[school, address][1]} was seen at its address since")
        elif school not in set(ready):
            found[name] = outcome_of("untried", f"{school} has no push key, or did not answer: run site.yml")
    return found


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def outcome(result: Mapping[str, Any]) -> Outcome:
    """Return what became of a laptop; `result` is what Ansible registered of the ssh run that asked it."""
    if result.get("skipped"):
        return outcome_of("asked")
    if result.get("unreachable") or not isinstance(result.get("rc"), int):
        return outcome_of("untried", f"the school server did not answer: {result.get('msg', '')}")
    code, said = result["rc"], str(result.get("stdout", ""))
    answered = _answer(said)
    if answered:
        return answered
    if code in _TIMED_OUT:
        return outcome_of("failed", "it did not finish in time")
    if code == 255:
        for pattern, kind, message in _SAYINGS:
            if re.search(pattern, said):
                return outcome_of(kind, message)
        # A lid that was closed meanwhile. The laptop finishes, or goes back, at its next start.
        return outcome_of("away", f"the connection broke off{': ' if said else ''}{said}")
    return outcome_of("failed", f"its answer is none: {plain(said, 40) or f'exit code {code}'}")


def _answer(said: str) -> Outcome | None:
    """Return the outcome in the line of JSON that `said` holds; None where there is none."""
    for line in said.splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and found.get("outcome") in ANSWERS:
            message = "" if found["outcome"] == "current" else found.get("message") or ""
            return outcome_of(found["outcome"], message, found.get("version") or "", found.get("was") or "")
    return None


def stop(everyone: list[Outcome], wave: list[Outcome], percent: int) -> str:
    """Return why no further wave goes out after `wave`, the last of those in `everyone`; "" where it may.

    The first waves are there to meet a bad version: it stops where nobody at all has succeeded yet. From then on one
    broken laptop stops nothing; two do, where they are more than `percent` of those that answered, here or in all.
    """
    for asked in (wave, everyone):
        failed = sum(one["outcome"] == "failed" for one in asked)
        answered = sum(one["outcome"] in ANSWERS for one in asked)
        if failed >= 2 and failed * 100 > percent * answered:
            return f"{failed} of {answered} laptops failed"
    kinds = {one["outcome"] for one in everyone}
    if "failed" in kinds and not kinds & {"updated", "current"}:
        return "the first laptop that answered failed"
    return ""


def outcomes(laptops: Mapping[str, Mapping[str, Any]]) -> dict[str, Outcome]:
    """Return the outcome of each of `laptops`: variables by name, with what the playbook set.

    That is `push_plan` and `push_result`; one that was neither left out nor asked was not tried.
    """
    found = {}
    for name, known in laptops.items():
        if "push_result" in known:
            found[name] = outcome(known["push_result"])
        else:
            found[name] = known.get("push_plan", {}).get(name) or outcome_of("untried")
    return found


def table(laptops: Mapping[str, Mapping[str, Any]], stopped: str = "") -> str:
    """Return the table of all `laptops` (as for `outcomes`), and a last line that sums up and says why it `stopped`."""
    order = list(KINDS)
    rows = []
    for name, one in outcomes(laptops).items():
        known, kind = laptops[name], KINDS[one["outcome"]]
        versions = f"{one['was']} → {one['version']}" if one["outcome"] == "updated" and one["was"] else one["version"]
        why = "; ".join(part for part in (one["message"], kind.advice) if part)
        who = (plain(name, 16), plain(known.get("xs_nick", ""), 20), plain(known.get("xs_class", ""), 10))
        rows.append((order.index(one["outcome"]), (*who, kind.title, versions, why)))
    rows.sort()
    lines = [("laptop", "nick", "class", "outcome", "version", "why, what to do"), *(row for _, row in rows)]
    widths = [max(_width(cell) for cell in column) for column in zip(*lines, strict=True)]
    text = ["  ".join(map(_padded, line, widths)).rstrip() for line in lines]
    return "\n".join([*text, _sum([order[number] for number, _ in rows], stopped)])


def _sum(kinds: list[str], stopped: str) -> str:
    counts = ", ".join(f"{kinds.count(kind)} {about.title}" for kind, about in KINDS.items() if kind in kinds)
    total = f"{len(kinds)} laptop{'' if len(kinds) == 1 else 's'}: {counts or 'nobody'}."
    return f"{total} Stopped: {stopped}." if stopped else total


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


class FilterModule:
    """What Ansible looks for in a filter plugin."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "xs_push_plan": plan,
            "xs_push_outcome": outcome,
            "xs_push_outcomes": outcomes,
            "xs_push_stop": stop,
            "xs_push_table": table,
        }
