# SPDX-License-Identifier: GPL-3.0-or-later
"""Each of rsync's dangerous options, in every spelling that rsync's own parser (popt) takes, and some that it does not.

What it would gain stands in the grammar's own table; a test for each line of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eve import Eve, refused
from ground import Ground
from schoolserver.grammar import ATTACKS
from siege import Refuse

PUSH = "rsync --server -ltrze.iLs {} . datastore-current"
PULL = "rsync --server --sender -ltre.iLs {} . datastore-latest/"


def spellings_of_letter(letter: str) -> Iterator[str]:
    """Yield commands that have rsync's `letter`: in a bundle, alone, twice, elsewhere."""
    yield f"rsync --server -{letter}ltrze.iLs . datastore-current"
    yield f"rsync --server -ltrz{letter}{letter}e.iLs . datastore-current"
    yield f"rsync --server --sender -ltr{letter}e.iLs . datastore-latest/"
    yield f"rsync --server -ltrze.iLs-{letter} . datastore-current"
    yield PUSH.format(f"-{letter}")
    yield PUSH.format(f"-- -{letter}")
    yield f"rsync -{letter} --server -ltre.i . datastore-current"
    yield f"rsync --server -ltre.i . -{letter} datastore-current"


def spellings_of_option(option: str) -> Iterator[str]:
    """Yield commands that have rsync's long `option`: plain, with a value in both ways, abbreviated, elsewhere."""
    words = [
        option, f"{option}=/etc/passwd", f"{option} /etc/passwd", option[:-1], option.upper(), option[1:],
        f"{option} {option}", f"-- {option}",
    ]  # fmt: skip
    yield from (PUSH.format(word) for word in words)
    yield f"rsync --server --sender -ltre.iLs {option if option != '--sender' else '--receiver'} . datastore-latest/"
    yield f"rsync {option} --server -ltre.i . datastore-current"
    yield f"rsync --server -ltre.i . {option} datastore-current"


@pytest.mark.parametrize(
    "word", ATTACKS, ids=[f"{'-' * (len(word) == 1)}{word}: {gain}" for word, gain in ATTACKS.items()]
)
def test_a_dangerous_option_is_refused_in_every_spelling(server: Ground, eve: Eve, word: str) -> None:
    spellings = list(spellings_of_letter(word) if len(word) == 1 else spellings_of_option(word))
    server.mark()
    reasons = [refused(eve.say(spelling)) for spelling in spellings]
    server.told(f"refused uid {eve.uid} .*{word}", of="xs-gate")
    assert len(server.new_lines(of="xs-gate")) == len(spellings)
    assert any(reason.endswith(f": {ATTACKS[word]}") for reason in reasons), "one says what it would gain"


OTHERS = {
    "--timeout=0: a place held for ever": PUSH.format("--timeout=0"),
    "--timeout=1000: a place held for long": PUSH.format("--timeout=1000"),
    "--timeout=-1: a place held for ever": PUSH.format("--timeout=-1"),
    "--timeout twice: the second one unseen": PUSH.format("--timeout=5 --timeout=0"),
    "--timeout in other digits: a number that two parsers read differently": PUSH.format("--timeout=٣"),
    "--delete twice: another mode of deletion": PUSH.format("--delete --delete"),
    "--delete-missing-args: files outside deleted": PUSH.format("--delete-missing-args"),
    "--delete when reading: the snapshot emptied": PULL.format("--delete"),
    "--partial when reading: an option that nobody checked there": PULL.format("--partial"),
    "--protocol=20: a protocol with old bugs": PUSH.format("--protocol=20"),
    "--checksum-seed: sums of her choice": PUSH.format("--checksum-seed=1"),
    "--compress-choice: a decompressor of her choice": PUSH.format("--compress-choice=zstd"),
    "--skip-compress: a pattern that takes for ever": PUSH.format("--skip-compress=" + "*a" * 40),
    "--filter: deletion of what she names": PUSH.format("--filter=P"),
    "--usermap: owners of her choice": PUSH.format("--usermap=*:0"),
    "--stop-at: a session that ends as complete": PUSH.format("--stop-at=2020-01-01T00:00"),
    "--debug=all: what the server sees of itself": PUSH.format("--debug=all4"),
    "--info=all: what the server sees of itself": PUSH.format("--info=all4"),
    "--sender without letters: rsync's own defaults": "rsync --server --sender . datastore-latest/",
    "--sender behind the letters: a pull that looks like a push": "rsync --server -ltre.i --sender . datastore-latest/",
    "--sender twice: a parser off by one": "rsync --server --sender --sender -ltre.i . datastore-latest/",
    "--server twice: a parser off by one": "rsync --server --server -ltre.i . datastore-current",
    "no dot: the path taken for another argument": "rsync --server -ltre.i datastore-current",
    "two dots: the path taken for another argument": "rsync --server -ltre.i . . datastore-current",
    "capabilities without end: a buffer too small": f"rsync --server -ltre.{'i' * 21} . datastore-current",
    "capabilities with a sign: a second option in them": "rsync --server -ltre.i-s . datastore-current",
    "capabilities that are no ASCII: two parsers that differ": "rsync --server -ltre.ıſ . datastore-current",
    "-e without a dot: a remote shell": "rsync --server -ltre . datastore-current",
    "letters in other alphabets: two parsers that differ": "rsync --server -ⅼtre.i . datastore-current",
    "-T for --temp-dir: files put outside": PUSH.format("-T /library"),
    "--temp-dir of a backup: files put outside": PUSH.format("--temp-dir /tmp"),
}


@pytest.mark.parametrize("command", OTHERS.values(), ids=OTHERS)
def test_an_option_that_no_backup_has_is_refused(refuse: Refuse, command: str) -> None:
    assert refuse(command)
