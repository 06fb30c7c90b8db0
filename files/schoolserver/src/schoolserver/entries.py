# SPDX-License-Identifier: GPL-3.0-or-later
"""One document in a Sugar datastore, that a hostile laptop may have written: its files, and what it says of itself.

What cannot be read is named as damaged, never fatal.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from schoolserver import layout0, opening
from schoolserver.opening import TooMany

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")
_PNG = b"\x89PNG\r\n\x1a\n"
_INTERNAL = "checksum"  # written by Sugar's own clean-up of duplicates: no change of the document

LONGEST_PROPERTY = 64 * 1024  # bytes of one property; Sugar's own are far below
LONGEST_PREVIEW = 512 * 1024  # Sugar's are 300x225 PNG, about 20 kB
MOST_PROPERTIES = 256  # names in metadata/; Sugar and its activities write about twenty
LONGEST_LINE = 300  # characters of a title or type
# When a laptop's clock can have been right: the first XO came after the one; the others are dead batteries (1970)
# and overflows (2106).
_CLOCK_FROM, _CLOCK_TO = 1_104_537_600, 4_102_444_800  # 2005 and 2100, seconds since 1970


@dataclass(frozen=True)
class Document:
    """What one version says of itself; text is one line, without control characters, and still the laptop's words."""

    title: str
    activity: str  # bundle id, "" where none
    mime_type: str
    size: int  # bytes of the data, 0 where there is none
    timestamp: int  # the laptop's clock, seconds since 1970; 0 where it says none
    preview: bool  # whether there is one
    damaged: str  # what is wrong with it, "" when nothing is
    tags: str = ""  # the words that the child gave it to find it by


@dataclass(frozen=True)
class Entry:
    """An open entry directory: `<uid[:2]>/<uid>` of a snapshot, or a keepsake.

    Of layout 0 (Sugar 0.82) the directory `store` of all entries, and `old` is the uid of this one.
    """

    descriptor: int
    old: str = ""


def open_file(entry: Entry, *names: str) -> int:
    """Return a descriptor of the regular file at data, or at metadata/<key>; raise OSError if it is anything else."""
    if entry.old:
        names = layout0.names(entry.old, names)
    with _inside(entry, names[:-1]) as directory:
        return opening.open_regular(directory, names[-1])


def files(entry: Entry) -> list[tuple[tuple[str, ...], os.stat_result]]:
    """Return the regular files of an entry, sorted by name: ("data",) and ("metadata", <key>), with their stat.

    Raise TooMany when metadata/ holds more than MOST_PROPERTIES names.
    """
    if entry.old:
        return layout0.files(entry.descriptor, entry.old)
    found = _regular(entry.descriptor, (), ["data"])
    try:
        with opening.opened(entry.descriptor, "metadata") as metadata:
            names = opening.names(metadata, MOST_PROPERTIES)
            if len(names) > MOST_PROPERTIES:
                raise TooMany(f"more than {MOST_PROPERTIES} properties")
            return found + _regular(metadata, ("metadata",), names)
    except TooMany:
        raise
    except OSError:
        return found  # no metadata: describe() says so


def fingerprint(entry: Entry) -> str:
    """Return a short text that is the same for two copies of one version, from names, sizes and times alone."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        found = files(entry)
    except TooMany:
        # The directory stands for what is in it. Such an entry has copies in snapshots only, where its time stays.
        found = _regular(entry.descriptor, (), ["data"])
        found.append((("metadata",), os.stat("metadata", dir_fd=entry.descriptor, follow_symlinks=False)))
    for names, status in found:
        if names[-1] != _INTERNAL and not names[-1].startswith("."):
            digest.update(os.fsencode("/".join(names)) + b"\0%d\0%d\0" % (status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


def properties(entry: Entry) -> dict[str, str]:
    """Return the entry's properties as text, without preview; undecodable bytes become U+FFFD, long ones are cut.

    Of an entry with too many, some. Raise OSError when one cannot be read.
    """
    if entry.old:
        said = layout0.properties(entry.descriptor, entry.old)
        return {key: value for key, value in said.items() if key != "preview"}
    try:
        with opening.opened(entry.descriptor, "metadata") as metadata:
            names = opening.names(metadata, MOST_PROPERTIES)[:MOST_PROPERTIES]
            keys = [key for (_, key), _ in _regular(metadata, ("metadata",), names)]
    except OSError:
        return {}
    wanted = [key for key in keys if key != "preview" and not key.startswith(".")]
    return {_text(os.fsencode(key)): _text(_read(entry, key, LONGEST_PROPERTY)) for key in wanted}


def preview(entry: Entry) -> bytes | None:
    """Return the preview if it is a PNG of a sensible size, else None."""
    try:
        image = _read(entry, "preview", LONGEST_PREVIEW + 1)
    except OSError:
        return None
    return image if image.startswith(_PNG) and len(image) <= LONGEST_PREVIEW else None


def data_size(entry: Entry) -> int | None:
    """Return the number of bytes of the entry's data, None if it has no data."""
    try:
        descriptor = open_file(entry, "data")
    except OSError:
        return None
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def describe(entry: Entry) -> Document:
    """Return what the entry says of itself; never raises for what a laptop wrote."""
    damage: list[str] = []
    size = data_size(entry)
    try:
        found = [(names[-1], status.st_size) for names, status in files(entry) if names[0] == "metadata"]
        if not found:
            return Document("", "", "", size or 0, 0, False, "no properties")
        damage += [
            f"{one_line(_text(os.fsencode(key)))} has {length} bytes" for key, length in found if length > _longest(key)
        ]
    except TooMany as error:
        damage.append(str(error))

    def line(key: str) -> str:
        try:
            raw = _read(entry, key, 4 * LONGEST_LINE)
        except FileNotFoundError:
            return ""
        except OSError as error:
            damage.append(f"{key} cannot be read: {error.strerror or error}")
            return ""
        if "\ufffd" in (text := _text(raw)) and b"\xef\xbf\xbd" not in raw and len(raw) < 4 * LONGEST_LINE:
            damage.append(f"{key} is not UTF-8")
        return one_line(text)

    clock, claimed = line("timestamp"), line("filesize")  # Sugar writes how long the data is since 0.98
    if size is None and claimed.isdecimal() and int(claimed) > 0:
        damage.append(f"its data is missing: {claimed} bytes")
    timestamp = _seconds(clock)
    if clock and not timestamp:
        damage.append(f"its time cannot be true: {clock[:30]}")
    return Document(
        title=line("title"),
        activity=line("activity"),
        mime_type=line("mime_type"),
        size=size or 0,
        timestamp=timestamp,
        preview=preview(entry) is not None,
        tags=line("tags"),
        damaged="; ".join(damage),
    )


def one_line(text: str) -> str:
    """Return `text` on one line of at most LONGEST_LINE characters, without control and direction-changing ones."""
    return _CONTROL.sub("", " ".join(text.split()))[:LONGEST_LINE]


def _seconds(text: str) -> int:
    # Some activities write floats, a hostile clock says anything; SQLite holds 63 bits, a page four-digit years.
    try:
        seconds = int(float(text))
    except (ValueError, OverflowError):
        return 0
    return seconds if _CLOCK_FROM <= seconds < _CLOCK_TO else 0


def _longest(key: str) -> int:
    """Return how many bytes of a property are read; `metadata` is all of them, in layout 0."""
    return LONGEST_PREVIEW if key in {"preview", "metadata"} else LONGEST_PROPERTY


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").replace("\0", "")


def _read(entry: Entry, key: str, limit: int) -> bytes:
    if entry.old and key != "preview":
        said = layout0.properties(entry.descriptor, entry.old)
        if key not in said:
            raise FileNotFoundError(key)
        return said[key].encode()[:limit]
    with open(open_file(entry, "metadata", key), "rb") as file:
        return file.read(limit)


def _regular(directory: int, where: tuple[str, ...], names: list[str]) -> list[tuple[tuple[str, ...], os.stat_result]]:
    found = ((name, opening.status_of_file(directory, name)) for name in names)
    return [((*where, name), status) for name, status in found if status is not None]


@contextmanager
def _inside(entry: Entry, names: tuple[str, ...]) -> Iterator[int]:
    # Only "metadata", or "preview" of layout 0, is ever asked for, so one step is enough.
    if not names:
        yield entry.descriptor
        return
    with opening.opened(entry.descriptor, names[0]) as descriptor:
        yield descriptor
