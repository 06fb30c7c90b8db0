# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a Sugar datastore (PROTOCOL.md section 6) that a hostile laptop may have written.

Every name in it is the laptop's choice: a link would make root or the Journal page read another's files, a pipe would
hang the reader, a huge file would fill its memory. So each step is opened without following links, only regular files
are read, and no more than a stated number of bytes and of names. What cannot be read is named as damaged, never fatal.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from schoolserver.names import UUID
from schoolserver.stamps import is_stamp

_DRAWER = re.compile(r"[0-9a-f]{2}", re.ASCII)  # a directory of entries whose uids begin like this
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")
_PNG = b"\x89PNG\r\n\x1a\n"
_STORE, _OLD_METADATA = "store", ".metadata"  # of layout 0
_INTERNAL = "checksum"  # written by Sugar's own clean-up of duplicates: no change of the document

LONGEST_PROPERTY = 64 * 1024  # bytes of one property; Sugar's own are far below
LONGEST_PREVIEW = 512 * 1024  # Sugar's are 300x225 PNG, about 20 kB
MOST_PROPERTIES = 256  # names in metadata/; Sugar and its activities write about twenty
MOST_DOCUMENTS = 20_000  # of one Journal, and names in one drawer: ten times what a laptop can list
LONGEST_LINE = 300  # characters of a title or type


class TooMany(OSError):
    """There is more here than a reader's memory is for: a laptop's mistake, or an attack."""


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


def is_uid(name: str) -> bool:
    """Say whether `name` can be a document's uid."""
    # Sugar names entries by uuid4 (carquinyol datastore.create); its own find_all() looks at the lengths 2 and 36 only.
    return UUID.fullmatch(name) is not None


def trees(users: Path) -> list[Path]:
    """Return the directories of all trees below `users`, by name; none before the first laptop registered."""
    try:
        found = sorted(users.iterdir())
    except FileNotFoundError:
        return []
    named = [tree for tree in found if not tree.name.startswith(".")]  # those are being made, or deleted
    return [tree for tree in named if (tree / "datastore").is_dir() and not tree.is_symlink()]


def snapshots(tree: Path, directory: str = "datastore") -> list[str]:
    """Return the stamps of the tree's finished snapshots in `directory`, oldest first."""
    try:
        return sorted(name for name in os.listdir(tree / directory) if is_stamp(name))
    except FileNotFoundError:
        return []


def entries(snapshot: Path) -> dict[str, bool]:
    """Return {uid: whether it has data} of every document in the read-only snapshot at `snapshot`.

    An entry directory that holds no property is none: Sugar leaves such a one for a moment while it deletes. Raise
    TooMany when there are more than MOST_DOCUMENTS.
    """
    found: dict[str, bool] = {}
    with _opened(None, str(snapshot)) as top:
        if _is_old(top):
            return _old_entries(top)
        for drawer in _directories(top):
            if not _DRAWER.fullmatch(drawer):
                continue
            with _opened(top, drawer) as descriptor:
                for uid in _directories(descriptor):
                    if uid[:2] == drawer and is_uid(uid):
                        _add(found, descriptor, uid)
                    if len(found) > MOST_DOCUMENTS:
                        raise TooMany(f"more than {MOST_DOCUMENTS} documents")
    return found


def touched(old: Path, new: Path, paths: list[str]) -> set[str] | None:
    """Return the uids that may differ between two snapshots; None if that cannot be told by their layout.

    `paths` is what engines' changed() says. A name that stands for another inode than before counts with all below it,
    for a laptop can move what it wrote earlier to where another document was. Raise TooMany, OSError.
    """
    with _opened(None, str(old)) as before, _opened(None, str(new)) as after:
        if _is_old(before) or _is_old(after):
            return None
        was, now = _numbers(before), _numbers(after)
        found: set[str] = set()
        drawers = {path for path in paths if path and "/" not in path}
        for name in drawers | {name for name in was.keys() | now.keys() if was.get(name) != now.get(name)}:
            if _DRAWER.fullmatch(name):
                found |= _moved(before if name in was else None, after if name in now else None, name)
        found |= {parts[1] for parts in (path.split("/", 2) for path in paths) if len(parts) > 1}
    return {uid for uid in found if is_uid(uid)}


def entries_of(snapshot: Path, uids: set[str]) -> dict[str, bool]:
    """Return what entries() says of `uids` alone, of a datastore that is not of layout 0."""
    found: dict[str, bool] = {}
    with _opened(None, str(snapshot)) as top:
        for uid in uids:
            with suppress(FileNotFoundError, NotADirectoryError), _opened(top, uid[:2]) as drawer:
                if stat.S_ISDIR(os.stat(uid, dir_fd=drawer, follow_symlinks=False).st_mode):
                    _add(found, drawer, uid)
    return found


@contextmanager
def entry_in(snapshot: Path, uid: str) -> Iterator[Entry]:
    """Open the entry of `uid` in the snapshot at `snapshot`; raise OSError if it is not there."""
    with _opened(None, str(snapshot)) as top:
        if _is_old(top):
            with _opened(top, _STORE) as store:
                os.stat(f"{uid}{_OLD_METADATA}", dir_fd=store, follow_symlinks=False)
                yield Entry(store, uid)
            return
        with _opened(top, uid[:2]) as drawer, _opened(drawer, uid) as descriptor:
            yield Entry(descriptor)


@contextmanager
def entry_at(directory: Path) -> Iterator[Entry]:
    """Open a keepsake's directory as an entry; raise OSError if it is not there."""
    with _opened(None, str(directory)) as descriptor:
        yield Entry(descriptor)


def open_file(entry: Entry, *names: str) -> int:
    """Return a descriptor of the regular file at data, or at metadata/<key>; raise OSError if it is anything else."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if entry.old:
        names = _old_names(entry, names)
    with _inside(entry, names[:-1]) as directory:
        descriptor = os.open(names[-1], flags, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"not a regular file: {names[-1]}")
    return descriptor


def files(entry: Entry) -> list[tuple[tuple[str, ...], os.stat_result]]:
    """Return the regular files of an entry, sorted by name: ("data",) and ("metadata", <key>), with their stat.

    Raise TooMany when metadata/ holds more than MOST_PROPERTIES names.
    """
    if entry.old:
        return _old_files(entry)
    found = _regular(entry, (), ["data"])
    try:
        with _inside(entry, ("metadata",)) as metadata:
            names = _names(metadata)
    except OSError:
        return found  # no metadata: describe() says so
    if len(names) > MOST_PROPERTIES:
        raise TooMany(f"more than {MOST_PROPERTIES} properties")
    return found + _regular(entry, ("metadata",), names)


def fingerprint(entry: Entry) -> str:
    """Return a short text that is the same for two copies of one version, from names, sizes and times alone."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        found = files(entry)
    except TooMany:
        # The directory stands for what is in it. Such an entry has copies in snapshots only, where its time stays.
        found = _regular(entry, (), ["data"])
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
        return {key: value for key, value in _old_properties(entry).items() if key != "preview"}
    try:
        with _inside(entry, ("metadata",)) as metadata:
            names = _names(metadata)[:MOST_PROPERTIES]
    except OSError:
        return {}
    keys = [keys[1] for keys, _ in _regular(entry, ("metadata",), names)]
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
        if not any(names[0] == "metadata" for names, _ in files(entry)):
            return Document("", "", "", size or 0, 0, False, "no properties")
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

    return Document(
        title=line("title"),
        activity=line("activity"),
        mime_type=line("mime_type"),
        size=size or 0,
        timestamp=_seconds(line("timestamp")),
        preview=preview(entry) is not None,
        tags=line("tags"),
        damaged="; ".join(damage),
    )


def one_line(text: str) -> str:
    """Return `text` on one line of at most LONGEST_LINE characters, without control and direction-changing ones."""
    return _CONTROL.sub("", " ".join(text.split()))[:LONGEST_LINE]


def _add(found: dict[str, bool], drawer: int, uid: str) -> None:
    with _opened(drawer, uid) as descriptor:
        entry = Entry(descriptor)
        try:
            with _inside(entry, ("metadata",)) as metadata, os.scandir(metadata) as listing:
                some = itertools.islice(listing, MOST_PROPERTIES + 1)
                if not any(item.is_file(follow_symlinks=False) for item in some):
                    return
        except OSError:
            return
        found[uid] = bool(_regular(entry, (), ["data"]))


def _seconds(text: str) -> int:
    # Some activities write floats, a hostile clock says anything; SQLite holds 63 bits, a page four-digit years.
    try:
        seconds = int(float(text))
    except (ValueError, OverflowError):
        return 0
    return seconds if 0 < seconds < 2**37 else 0


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").replace("\0", "")


def _read(entry: Entry, key: str, limit: int) -> bytes:
    if entry.old and key != "preview":
        said = _old_properties(entry)
        if key not in said:
            raise FileNotFoundError(key)
        return said[key].encode()[:limit]
    descriptor = open_file(entry, "metadata", key)
    with open(descriptor, "rb") as file:
        return file.read(limit)


def _names(directory: int) -> list[str]:
    """Return the names in `directory`, sorted; one more than MOST_PROPERTIES stands for any number above it."""
    with os.scandir(directory) as listing:
        return sorted(item.name for item in itertools.islice(listing, MOST_PROPERTIES + 1))


def _regular(entry: Entry, where: tuple[str, ...], names: list[str]) -> list[tuple[tuple[str, ...], os.stat_result]]:
    found: list[tuple[tuple[str, ...], os.stat_result]] = []
    with _inside(entry, where) as directory:
        for name in names:
            try:
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                found.append(((*where, name), status))
    return found


def _is_old(top: int) -> bool:
    """Say whether the datastore at `top` is of layout 0, which has no version and one place for all entries."""
    with suppress(FileNotFoundError):
        os.stat("version", dir_fd=top, follow_symlinks=False)
        return False
    try:
        return stat.S_ISDIR(os.stat(_STORE, dir_fd=top, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _old_entries(top: int) -> dict[str, bool]:
    found: dict[str, bool] = {}
    with _opened(top, _STORE) as store, os.scandir(store) as listing:
        for number, item in enumerate(listing):
            if number >= 2 * MOST_DOCUMENTS:
                raise TooMany(f"more than {MOST_DOCUMENTS} documents")
            uid = item.name.removesuffix(_OLD_METADATA)
            if item.name != uid and is_uid(uid) and item.is_file(follow_symlinks=False):
                found[uid] = bool(_regular(Entry(store, uid), (), [uid]))
    return found


def _old_names(entry: Entry, names: tuple[str, ...]) -> tuple[str, ...]:
    if names == ("data",):
        return (entry.old,)
    if names == ("metadata", "preview"):
        return ("preview", entry.old)
    raise FileNotFoundError("/".join(names))


def _old_files(entry: Entry) -> list[tuple[tuple[str, ...], os.stat_result]]:
    """Return data, preview and, standing for all other properties, the metadata file, as files() does."""
    found: list[tuple[tuple[str, ...], os.stat_result]] = []
    found += [(("data",), status) for _, status in _regular(entry, (), [entry.old])]
    found += [(("metadata",), status) for _, status in _regular(entry, (), [f"{entry.old}{_OLD_METADATA}"])]
    with suppress(OSError):
        found += [(("metadata", "preview"), status) for _, status in _regular(entry, ("preview",), [entry.old])]
    return found


def _old_properties(entry: Entry) -> dict[str, str]:
    """Return what the JSON of a layout 0 entry says, as text; nothing where it is no JSON object."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(f"{entry.old}{_OLD_METADATA}", flags, dir_fd=entry.descriptor)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file: metadata")
        text = file.read(LONGEST_PREVIEW)
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    pairs = itertools.islice(said.items(), MOST_PROPERTIES)
    return {_plain(key): _plain(value) for key, value in pairs}


def _plain(value: object) -> str:
    # Half a surrogate pair is legal JSON that no file takes.
    return _text(str(value).encode("utf-8", "replace"))


def _numbers(directory: int) -> dict[str, int]:
    """Return {name: inode number} of the directories in `directory`."""
    names = list(_directories(directory))
    return {name: os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino for name in names}


def _moved(before: int | None, after: int | None, drawer: str) -> set[str]:
    """Return the names in `drawer` that came, went, or stand for another directory than before."""

    def listed(top: int | None) -> tuple[int, dict[str, int]]:
        if top is None:
            return 0, {}
        with _opened(top, drawer) as descriptor:
            return os.fstat(descriptor).st_ino, _numbers(descriptor)

    (old_number, was), (number, now) = listed(before), listed(after)
    both = was.keys() | now.keys()
    return {name for name in both if old_number != number or was.get(name) != now.get(name)}


def _directories(directory: int) -> Iterator[str]:
    with os.scandir(directory) as listing:
        for number, item in enumerate(listing):
            if number >= MOST_DOCUMENTS:
                raise TooMany(f"more than {MOST_DOCUMENTS} names in one directory")
            if item.is_dir(follow_symlinks=False):
                yield item.name


@contextmanager
def _inside(entry: Entry, names: tuple[str, ...]) -> Iterator[int]:
    # Only "metadata", or "preview" of layout 0, is ever asked for, so one step is enough.
    if not names:
        yield entry.descriptor
        return
    with _opened(entry.descriptor, names[0]) as descriptor:
        yield descriptor


@contextmanager
def _opened(parent: int | None, name: str) -> Iterator[int]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
