# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar under fuzz: real commands, mutated by seed. What is accepted is known word for word, and harmless.

The oracle for "harmless" is rsync's own table of options, as its parser (popt) reads words: short letters in a bundle,
`-e` with the rest of its word, long options with a value behind `=`.
"""

from __future__ import annotations

import random
import re
import time

import pytest

from schoolserver import grammar, jail
from schoolserver.errors import Refusal
from schoolserver.grammar import Flag, Pull, Push, Xs, parse

UID, STAMP, SERIAL = "0a345678-1234-1234-1234-123456789abc", "2026-11-23T101500Z", "SHC12345678"
REAL = [
    "rsync --server -ltrze.iLsfxCIvu --timeout=160 --delete --partial . datastore-current",
    "rsync --server -ltrze.iLsfxCIvu --timeout=160 --delete --partial . power-logs",
    "rsync --server -vltrze.iLsfxCIvu --timeout=160 --delete --partial . documents/",
    f"rsync --server -ltrze.iLsfxCIvu --timeout=10 --temp-dir /tmp . /var/lib/ds-backup/completion/{SERIAL}",
    f"rsync --server -ltre.i . /var/lib/ds-backup/completion/{SERIAL}",
    "rsync --server --sender -ltrze.iLsfxCIvu . datastore-latest/",
    f"rsync --server --sender -ltre.iLs --timeout=60 . datastore/{STAMP}/",
    f"rsync --server --sender -ltre.iLs . keepsakes/{UID}/{STAMP}",
    f"rsync --server --sender -ltre.iLs . trees/{SERIAL}.2/datastore/{STAMP}/",
    "xs status", "xs history", "xs ticket",
]  # fmt: skip
PIECES = [
    *{word for command in REAL for word in command.split(" ")}, *grammar.ATTACKS,
    *(f"-{word}" for word in grammar.ATTACKS if len(word) == 1), *(f"{word}=/x" for word in grammar.ATTACKS),
    "", " ", ".", "..", "/", "//", "-", "--", "-e", "-e.", "=", "*", "~", "../", "/etc/passwd", "\n", "\r", "\0", "\t",
    ";", "&&", "|", "$(id)", "`id`", "'", '"', "\\", "%00", "%2e%2e", "\u00a0", "\u200b", "．", "ｒ", "ſ", "ı", "é",
    "٣", "\ud800",
    "0", "-1", "999", "1000", "--timeout", "--timeout=0", "--no-", "--del", "--part", "--s", "-M--daemon", "@",
    ":", "::x",
]  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=,;:+ "
FEW, MANY, SEED = 5_000, 1_000_000, 20261126

# rsync's options as its parser reads them (options.c): those that a backup may set, and no value but these.
SHORT = {"l": "links", "t": "times", "r": "recursive", "z": "compress", "v": "verbose", "p": "perms"}
LONG = {
    "--server": None, "--sender": None, "--delete": None, "--partial": None, "--timeout": r"[1-9][0-9]{0,2}",
    "--chmod": "D755,F644", "--temp-dir": "/tmp",
    "--exclude": r"(/datastore-latest|/[-0-9TZ]{18})?/(index_updated|ds_clean)",
}  # fmt: skip
PATHS = re.compile(
    r"(datastore-current|documents|power-logs|datastore-latest)/?|datastore/[-0-9TZ]{18}/?"
    r"|trees/[A-Z]{3}[A-Za-z0-9]{8}(\.[1-9][0-9]{0,3})?/datastore/[-0-9TZ]{18}/?"
    r"|keepsakes/[-0-9a-f]{36}/[-0-9TZ]{18}/?|/var/lib/ds-backup/completion/[A-Z]{3}[A-Za-z0-9]{8}",
    re.ASCII,
)


def popt(words: list[str]) -> tuple[dict[str, str | None], list[str]]:
    """Return {option: value} and the rest of the arguments, as rsync's parser takes `words`; fail on the strange."""
    options: dict[str, str | None] = {}
    rest: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word.startswith("--") and len(word) > 2:
            name, sign, value = word.partition("=")
            assert name in LONG, f"rsync takes {word!r}"
            wanted = LONG[name]
            if wanted is not None:
                value = value if sign else queue.pop(0)
                assert re.fullmatch(wanted, value, re.ASCII), f"rsync takes {word!r} {value!r}"
            else:
                assert not sign
            assert name not in options or name == "--exclude", f"{name} twice"
            options[name] = value if wanted is not None else None
        elif word.startswith("-") and word != "-":
            bundle, _, shell = word[1:].partition("e")
            for letter in bundle:
                assert letter in SHORT, f"rsync takes -{letter} in {word!r}"
                options[SHORT[letter]] = None
            # With --server, what follows -e is the other side's capabilities, and only behind a dot (options.c).
            assert word == "-p" or re.fullmatch(r"\.[A-Za-z]*", shell, re.ASCII), f"rsync takes -e{shell!r}"
        else:
            rest.append(word)
    return options, rest


def mutated(rng: random.Random) -> str:
    """Return a real command with some things wrong."""
    command = rng.choice(REAL)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        words = command.split(" ")
        at = rng.randrange(len(words) + 1)
        match rng.randrange(10):
            case 0:
                words.insert(at, rng.choice(PIECES))
            case 1 if len(words) > 1:
                words.pop(min(at, len(words) - 1))
            case 2:
                words[min(at, len(words) - 1)] = rng.choice(PIECES)
            case 3:
                words.append(words[min(at, len(words) - 1)])
            case 4:
                rng.shuffle(words)
            case 5:
                command = " ".join(words)
                cut = rng.randrange(len(command) + 1)
                words = (command[:cut] + rng.choice(PIECES) + command[cut:]).split(" ")
            case 6:
                command = " ".join(words)
                cut = rng.randrange(len(command) + 1)
                words = (command[:cut] + command[cut + rng.randrange(4) :]).split(" ")
            case 7:
                command = " ".join(words)
                cut = rng.randrange(len(command) + 1)
                words = (command[:cut] + rng.choice(LETTERS) + command[cut + 1 :]).split(" ")
            case 8:
                other = rng.choice(REAL).split(" ")
                words = words[:at] + other[rng.randrange(len(other)) :]
            case _:
                word = words[min(at, len(words) - 1)]
                words[min(at, len(words) - 1)] = rng.choice((word.upper(), word.lower(), word + word, word[::-1]))
        command = " ".join(words)
    return command


def rendered(request: Push | Pull | Flag | Xs) -> set[str]:
    """Return the commands that `request` can have come from."""
    match request:
        case Xs(verb):
            return {f"xs {verb}"}
        case Push(destination, words, slash):
            return {f"rsync --server {' '.join(words)} . {destination}{slash}"}
        case Pull(source, words, slash, tree):
            source = f"trees/{tree}/{source}" if tree else source
            return {f"rsync --server --sender {' '.join(words)} . {source}{slash}"}
        case Flag(serial, words):
            start, path = f"rsync --server {' '.join(words)}", f". /var/lib/ds-backup/completion/{serial}"
            return {f"{start} {path}", f"{start} --temp-dir /tmp {path}"}


def check(command: str) -> bool:
    """Fail unless `command` is refused safely, or accepted as what it is; return whether it was accepted."""
    try:
        request = parse(command)
    except Refusal as refusal:
        text = str(refusal)
        assert text.isascii() and text.isprintable() and len(text) < 300, repr(command)
        return False
    assert command in rendered(request), repr(command)
    assert command.isascii() and command.isprintable()
    if isinstance(request, Xs):
        return True
    popt(command.split(" ")[1:-2])
    argv = jail.argv(request, "/library/users/x", 300)
    started = argv[argv.index("--") + 1 :]
    assert started[0] == jail.RSYNC
    options, rest = popt(started[1:])
    assert rest[0] == "."
    assert len(rest) == 2
    assert PATHS.fullmatch(rest[1]), rest
    assert "--server" in options
    assert ("--sender" in options) == isinstance(request, Pull)
    assert options["--timeout"] != "0"
    assert ("--delete" in options) <= isinstance(request, Push)
    assert ("perms" in options) == isinstance(request, Push)
    return True


def fuzz(number: int, seed: int) -> tuple[int, int, float]:
    """Try `number` commands; return how many different ones, how many were accepted, and the seconds."""
    rng = random.Random(seed)
    seen: set[int] = set()
    accepted, started = 0, time.monotonic()
    for _ in range(number):
        command = mutated(rng)
        seen.add(hash(command))
        accepted += check(command)
    return len(seen), accepted, time.monotonic() - started


def test_real_commands_are_accepted() -> None:
    assert all(check(command) for command in REAL)


def test_the_oracle_sees_what_a_grammar_that_is_too_kind_would_let_through() -> None:
    for words in (["--server", "-ltrsze.i"], ["--server", "-ltre.i", "--inplace"], ["--server", "-e", "sh"],
                  ["--server", "-ltre.i", "--timeout=0"], ["--server", "-ltre.i", "--delete", "--delete"],
                  ["--server", "-ltreLs.i"], ["--daemon"]):  # fmt: skip
        with pytest.raises(AssertionError):
            popt(words)


def test_mutated_commands_are_refused_or_what_they_seem() -> None:
    different, accepted, _ = fuzz(FEW, SEED)
    assert different > FEW // 2
    assert 0 < accepted < FEW // 2, "a fuzzer whose every input falls at the first word tests nothing"


@pytest.mark.soak
def test_a_million_mutated_commands_are_refused_or_what_they_seem() -> None:
    different, accepted, seconds = fuzz(MANY, SEED + 1)
    print(f"\ngrammar: {MANY} inputs, {different} of them different, {accepted} accepted, in {seconds:.0f} s")
    assert different > MANY // 3


def test_words_without_any_sense_are_refused() -> None:
    rng = random.Random(SEED)
    for _ in range(FEW):
        text = "".join(chr(rng.choice((rng.randrange(128), rng.randrange(0x110000)))) for _ in range(rng.randrange(80)))
        assert not check(text)
