# SPDX-License-Identifier: GPL-3.0-or-later
"""Which documents a restore brings back, from which snapshot, and whether there is room for them. Pure.

It decides for each document, not for a Journal: what is equal stays, what is missing comes, what differs comes and
today's version stays beside it, what only today's Journal has is not touched.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Iterable, Mapping, NamedTuple, Sequence, Tuple

from xo_client.journal import UID, Entry
from xo_client.rsync import File

BEST, LATEST = "best", "latest"
RESERVE = 50_000_000  # bytes that stay free: Sugar itself begins to complain below
LONGEST_PROPERTY = 500 * 1024  # bytes; Sugar's reader refuses more, and its rebuild then deletes the entry
_TREE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.]{0,40}", re.ASCII)
_STAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{6}Z", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_STORE, _METADATA = "store", ".metadata"  # layout 0: layout0.py
# Sugar writes these itself: where the server's copy has none, one more is no other version.
_ADDED = frozenset({"metadata/uid", "metadata/timestamp", "metadata/creation_time", "metadata/filesize"})
INTERNAL = "metadata/checksum"  # of Sugar's search for duplicates: no part of the document
_PROPERTIES = 24  # files that the one metadata file of layout 0 becomes, about

Files = Mapping[str, Tuple[int, int]]  # name in the entry: bytes, seconds since 1970 of its mtime


class Left(NamedTuple):
    """A document that stays on the server, and why."""

    uid: str
    title: str  # "" where it is not known
    why: str


class Source(NamedTuple):
    """One snapshot, as the laptop asks for it (PROTOCOL.md section 9)."""

    tree: str
    stamp: str
    path: str


class Document(NamedTuple):
    """One document as a snapshot has it."""

    uid: str
    source: Source
    files: Files
    old: bool = False  # layout 0: its properties are one file, "metadata"

    @property
    def bytes(self) -> int:
        """The bytes of all its files."""
        return sum(size for size, _ in self.files.values())

    @property
    def newest(self) -> int:
        """When the file changed last was written, by the laptop's clock: seconds since 1970."""
        return max((mtime for _, mtime in self.files.values()), default=0)

    def room(self, block: int) -> int:
        """Return the bytes it takes on a disk that gives out blocks of `block` bytes."""
        blocks = sum(-(-size // block) for size, _ in self.files.values())
        return (blocks + 2 + (_PROPERTIES if self.old else 0)) * block  # 2: its directories


class Plan(NamedTuple):
    """What is to be done."""

    fetch: list[Document]
    differing: set[str]  # uids of those in fetch that today's Journal has in another version
    equal: int  # documents that the Journal has as they are on the server


def is_day(text: str) -> bool:
    """Say whether `text` looks like a day: 2026-11-21."""
    return _DAY.fullmatch(text) is not None


def sources(history: Mapping[str, Any], when: str) -> list[Source]:
    """Return the snapshot that `when` means of each tree in the server's answer to `xs history`.

    `when` is BEST, LATEST, or a day (UTC): then the newest of that day or before. The laptop's own tree comes first,
    the others follow, the one with the newest best snapshot before the rest.
    """
    trees = [tree for tree in dicts(history.get("trees")) if _TREE.fullmatch(str(tree.get("tree", "")))]
    others = sorted(trees[1:], key=lambda tree: str(tree.get("best") or ""), reverse=True)
    found = []
    for number, tree in enumerate(trees[:1] + others):
        name, stamp = str(tree["tree"]), _chosen(tree, when)
        if stamp:
            path = f"datastore/{stamp}"
            found.append(Source(name, stamp, path if number == 0 else f"trees/{name}/{path}"))
    return found


def stamps(tree: Mapping[str, Any]) -> list[str]:
    """Return the stamps of the snapshots of one of the history's trees, oldest first."""
    found = (str(snapshot.get("stamp", "")) for snapshot in dicts(tree.get("snapshots")))
    return sorted(stamp for stamp in found if _STAMP.fullmatch(stamp))


def _chosen(tree: Mapping[str, Any], when: str) -> str | None:
    taken = stamps(tree)
    if when == BEST and tree.get("best") in taken:
        return str(tree["best"])
    if when in (BEST, LATEST):
        return taken[-1] if taken else None
    return max((stamp for stamp in taken if stamp[:10] <= when), default=None)


def dicts(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects in a list of the server's, whatever it is."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def documents(source: Source, listing: Iterable[File]) -> tuple[dict[str, Document], list[Left]]:
    """Return the documents of a snapshot by uid, and what looks like one and cannot be brought back."""
    files = list(listing)
    has_version = any(file.path == "version" and file.kind == "-" for file in files)
    if not has_version and any(file.path == _STORE and file.kind == "d" for file in files):
        return _of_layout0(source, files)
    found: dict[str, dict[str, tuple[int, int]]] = {}
    left = []
    for file in files:
        drawer, _, rest = file.path.partition("/")
        name, _, inner = rest.partition("/")
        if len(drawer) != 2 or not name:
            continue
        if not UID.fullmatch(name) or not name.startswith(drawer):
            if len(name) == 36 and not inner and file.kind == "d":  # Sugar would take it for one, and delete it
                left.append(Left(_shown(name), "", "its name is not one that Sugar gives"))
        elif not inner:
            found.setdefault(name, {})
        elif file.kind == "-" and is_part(inner):
            found.setdefault(name, {})[inner] = (file.size, file.mtime)
    whole: dict[str, Document] = {}
    for uid, parts in found.items():
        why = _damage(parts)
        if why:
            left.append(Left(uid, "", why))
        elif parts:  # an empty directory is what Sugar leaves for a moment while it deletes
            whole[uid] = Document(uid, source, parts)
    return whole, left


def is_part(name: str) -> bool:
    """Say whether a file of this name in an entry belongs to the document."""
    folder, _, key = name.partition("/")
    return name == "data" or (
        folder == "metadata" and bool(key) and "/" not in key and not key.startswith(".") and name != INTERNAL
    )


def _damage(parts: Files) -> str:
    if parts and set(parts) == {"data"}:
        return "its title and all that belongs to it are missing"
    for name, (size, _) in parts.items():
        if name != "data" and size > LONGEST_PROPERTY:
            return f"its {_shown(name[9:49])} is too long"
    return ""


def _shown(name: str) -> str:
    """Return a file's name for people: it may be no text at all, and a terminal would obey others."""
    return ascii(name)[1:-1]


def _of_layout0(source: Source, files: Sequence[File]) -> tuple[dict[str, Document], list[Left]]:
    plain = {file.path: (file.size, file.mtime) for file in files if file.kind == "-"}
    whole: dict[str, Document] = {}
    left = []
    for path, size_and_time in plain.items():
        folder, _, name = path.partition("/")
        uid = name[: -len(_METADATA)]
        if folder != _STORE or not name.endswith(_METADATA) or "/" in name:
            continue
        if not UID.fullmatch(uid):
            left.append(Left(_shown(uid), "", "its name is not one that Sugar gives"))
            continue
        parts = {"metadata": size_and_time}
        for part, at in (("data", f"{_STORE}/{uid}"), ("metadata/preview", f"{_STORE}/preview/{uid}")):
            if at in plain:
                parts[part] = plain[at]
        whole[uid] = Document(uid, source, parts, old=True)
    return whole, left


def union(snapshots: Iterable[Mapping[str, Document]]) -> dict[str, Document]:
    """Return the documents of all `snapshots`; one that several have comes from the first of them."""
    found: dict[str, Document] = {}
    for snapshot in snapshots:
        for uid, document in snapshot.items():
            found.setdefault(uid, document)
    return found


def plan(wanted: Mapping[str, Document], today: Mapping[str, Files], *, missing_only: bool) -> Plan:
    """Return what brings `wanted` back into a Journal that holds `today`, documents in the order of their uids."""
    fetch, differing, equal = [], set(), 0
    for uid in sorted(wanted):
        if uid not in today:
            fetch.append(wanted[uid])
        elif is_same(wanted[uid].files, today[uid]):
            equal += 1
        elif not missing_only:
            fetch.append(wanted[uid])
            differing.add(uid)
    return Plan(fetch, differing, equal)


def files_of(entry: Entry) -> Files:
    """Return the files of a document on the laptop, as a snapshot's listing would say them."""
    return {name: (size, mtime // 1_000_000_000) for name, size, mtime in entry.files if is_part(name)}


def is_same(wanted: Files, today: Files) -> bool:
    """Say whether `today` is the version `wanted`, as far as sizes and times tell."""
    more = set(today) - set(wanted)
    return more <= _ADDED and all(today.get(name) == file for name, file in wanted.items())


def fingerprint(files: Files) -> str:
    """Return a short text that is the same for two copies of one version, from names, sizes and times."""
    text = "".join(f"{name}\0{size}\0{mtime}\0" for name, (size, mtime) in sorted(files.items()))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def fitting(fetch: Sequence[Document], free: int, block: int, there: Mapping[str, int]) -> list[Document]:
    """Return those of `fetch` that fit on a disk with `free` bytes in blocks of `block`, the newest before the others.

    `there` says for uids how many bytes of them are on the disk already, from a restore that was interrupted. The
    result has the order of `fetch`.
    """
    rest = free - RESERVE
    chosen = set()
    for document in sorted(fetch, key=lambda document: (document.newest, document.uid), reverse=True):
        needs = max(document.room(block) - there.get(document.uid, 0), 0)
        if needs <= rest:
            rest -= needs
            chosen.add(document.uid)
    return [document for document in fetch if document.uid in chosen]
