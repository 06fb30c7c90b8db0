# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole language that a laptop may speak over ssh (PROTOCOL.md sections 4 and 9). What is not in it is refused.

parse() turns the command into a typed request. No shell ever sees the command: it is split at single spaces, each word
must be one that is known here, and rsync is started later with words that come from the request.
"""

from __future__ import annotations

import re
from collections import namedtuple

from schoolserver import stamps
from schoolserver.errors import Refusal
from schoolserver.names import SERIAL, TREE, UUID


class Push(namedtuple("Push", "destination words slash")):
    """Write one of the tree's own directories."""

    destination: str  # one of DESTINATIONS
    words: tuple[str, ...]  # rsync's letters and options
    slash: str  # "/" where the laptop ended the path with one, else ""


class Flag(namedtuple("Flag", "serial words")):
    """The old client's "this run is complete"."""

    serial: str
    words: tuple[str, ...]


class Pull(namedtuple("Pull", "source words slash tree", defaults=("",))):
    """Read one snapshot, the latest, or one keepsake."""

    source: str  # path in the tree: datastore-latest, datastore/<stamp> or keepsakes/<uid>/<stamp>
    words: tuple[str, ...]
    slash: str
    tree: str  # another tree of the same learner, "" for the laptop's own


class Xs(namedtuple("Xs", "verb")):
    """A question of our own client."""

    verb: str  # one of VERBS


Request = Push | Flag | Pull | Xs

VERBS = ("status", "history", "ticket")
DESTINATIONS = ("datastore-current", "power-logs", "documents")
_COMPLETION = "/var/lib/ds-backup/completion/"
_LONGEST = 300  # the longest real command has 130 characters
_LONGEST_SHOWN = 120

# rsync's letters: each once, then the laptop's capabilities, which switch on nothing by themselves.
_LETTERS = re.compile(r"-(?P<letters>[ltrzv]+)e\.[A-Za-z]{0,20}", re.ASCII)
# Above 999 seconds, and at 0, which means for ever, a laptop that has gone would keep its place.
_TIMEOUT = re.compile(r"--timeout=[1-9][0-9]{0,2}", re.ASCII)

# Why what is not in the language stays out: what each word would gain. Only for the log and the answer: a word that is
# missing here is refused as well.
ATTACKS = {
    "s": "the real arguments would arrive after this check (--secluded-args)",
    "L": "files that links point to would be read",
    "k": "links to directories would be followed",
    "K": "links in the destination would be followed",
    "D": "devices and pipes would be made",
    "H": "links between files would be made",
    "R": "directories above the destination would be made",
    "X": "attributes that the server acts on would be written",
    "A": "access rights would be written",
    "o": "owners would be written",
    "g": "groups would be written",
    "p": "permissions would be chosen by the laptop",
    "--append": "files would be changed where they stand",
    "--append-verify": "files would be changed where they stand",
    "--backup": "files would be put beside what the Journal holds",
    "--backup-dir": "files would be put outside the destination",
    "--chmod": "permissions would be chosen by the laptop",
    "--compare-dest": "files outside the destination would be probed",
    "--config": "a daemon of the laptop's making would be started",
    "--copy-dest": "files outside the destination would be read",
    "--copy-devices": "devices would be read",
    "--copy-unsafe-links": "files that links point to would be read",
    "--daemon": "a daemon of the laptop's making would be started",
    "--delete-excluded": "a filter would delete what the laptop still has",
    "--devices": "devices would be made",
    "--fake-super": "attributes that the server acts on would be written",
    "--files-from": "a list of the laptop's choice would be read on the server",
    "--iconv": "names would be changed by a converter that is not confined",
    "--inplace": "files would be changed where they stand",
    "--link-dest": "files outside the destination would be linked in",
    "--log-file": "a file of the laptop's choice would be written",
    "--log-file-format": "a file of the laptop's choice would be written",
    "--max-alloc": "the limit that stops memory bombs would be lifted",
    "--partial-dir": "files would be put outside the destination",
    "--password-file": "a file of the laptop's choice would be read",
    "--remove-source-files": "what is read would be deleted",
    "--rsh": "a program of the laptop's choice would be started",
    "--rsync-path": "a program of the laptop's choice would be started",
    "--secluded-args": "the real arguments would arrive after this check",
    "--sender": "what stands on the server would be read",
    "--super": "owners and devices would be written",
    "--temp-dir": "files would be put outside the destination",
    "--write-batch": "a file of the laptop's choice would be written",
    "--write-devices": "devices would be written",
}


def parse(command: str) -> Request:
    """Return what `command` asks for; raise Refusal, whose text names the word and what it would gain."""
    if len(command) > _LONGEST:
        raise Refusal("the command is longer than any that a backup sends")
    match command.split(" "):
        case ["xs", verb] if verb in VERBS:
            return Xs(verb)
        case ["rsync", "--server", "--sender", letters, *options, ".", path]:
            return _pull(_words(letters, options), path)
        case ["rsync", "--server", letters, *options, "--temp-dir", "/tmp", ".", path]:  # noqa: S108  a word, not a file
            return _flag(_words(letters, options), path)
        case ["rsync", "--server", letters, *options, ".", path] if path.startswith(_COMPLETION):
            return _flag(_words(letters, options), path)
        case ["rsync", "--server", letters, *options, ".", path]:
            return _push(_words(letters, options, "--delete", "--partial"), path)
        case [""]:
            raise Refusal("there is no shell here: this account takes backups only")
    raise Refusal(f"this account takes backups only, not {shown(command)}")


def _push(words: tuple[str, ...], path: str) -> Push:
    destination, slash = _without_slash(path)
    if destination not in DESTINATIONS:
        raise Refusal(f"backups go to {', '.join(DESTINATIONS)}, not to {shown(path)}")
    return Push(destination, words, slash)


def _flag(words: tuple[str, ...], path: str) -> Flag:
    serial = path.removeprefix(_COMPLETION)
    if path != _COMPLETION + serial or not SERIAL.fullmatch(serial):
        raise Refusal(f"only the flag of a complete run goes through /tmp, not {shown(path)}")
    return Flag(serial, words)


def _pull(words: tuple[str, ...], path: str) -> Pull:
    source, slash = _without_slash(path)
    match source.split("/"):
        case ["datastore-latest"]:
            return Pull(source, words, slash)
        case ["datastore", stamp] if stamps.is_stamp(stamp):
            return Pull(source, words, slash)
        case ["keepsakes", uid, stamp] if UUID.fullmatch(uid) and stamps.is_stamp(stamp):
            return Pull(source, words, slash)
        case ["trees", tree, "datastore", stamp] if TREE.fullmatch(tree) and stamps.is_stamp(stamp):
            return Pull(f"datastore/{stamp}", words, slash, tree)
    raise Refusal(f"only snapshots and keepsakes can be read back, not {shown(path)}")


def _words(letters: str, options: list[str], *allowed: str) -> tuple[str, ...]:
    """Return rsync's letters and options if each is in the language, once; a timeout always is."""
    match = _LETTERS.fullmatch(letters)
    if not match or len(set(match["letters"])) != len(match["letters"]):
        strange = next((word for word in (letters, *letters.partition("e.")[0]) if word in ATTACKS), "")
        raise Refusal(f"rsync's options {shown(letters)} are not a backup's{_gain(strange)}")
    names = [option.partition("=")[0] for option in options]
    for name, option in zip(names, options, strict=True):
        if not (option in allowed or _TIMEOUT.fullmatch(option)) or names.count(name) > 1:
            raise Refusal(f"rsync's option {shown(option)} is not a backup's{_gain(name)}")
    return (letters, *options)


def _gain(word: str) -> str:
    return f": {ATTACKS[word]}" if word in ATTACKS else ""


def _without_slash(path: str) -> tuple[str, str]:
    return (path[:-1], "/") if path.endswith("/") else (path, "")


def shown(text: str) -> str:
    """Return `text` as it may be written on a terminal or into a log: one line of ASCII, not long."""
    safe = ascii(text[:60])
    return safe if len(safe) <= _LONGEST_SHOWN else f"{safe[:_LONGEST_SHOWN]}..."  # ten signs stand for some letters
