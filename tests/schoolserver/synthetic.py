# SPDX-License-Identifier: GPL-3.0-or-later
"""A synthetic school: Journals such as a year's use of Sugar leaves, and what a school day changes in one.

Shapes and sizes are those of facts/peers.md, section 3: 1,000 documents of data and 17 properties, about 50 MB; eight
documents changed a day, four new, one deleted. The same seed makes the same Journal, byte for byte.
"""

from __future__ import annotations

import os
import random
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path

START = 1_790_000_000  # seconds; the newest document of a Journal that was just made
DAY = 86_400
WORDS = b"a child writes of the river and how we went to school by boat in the rain".split()
ACTIVITIES = [
    ("org.laptop.AbiWordActivity", "application/vnd.oasis.opendocument.text", False),
    ("org.laptop.Oficina", "image/png", False),
    ("org.laptop.WebActivity", "application/x-sugar-web", True),
    ("org.laptop.TurtleArtActivity", "application/x-turtle-art", True),
    ("org.laptop.RecordActivity", "image/jpeg", False),
]
# Sugar writes a property's file only when it changes (carquinyol metadatastore), so an edit leaves the others alone.
EDITED = ("preview", "timestamp", "mtime", "filesize", "spent-times")


@dataclass
class Journal:
    """One learner's datastore at `directory`, as rsync leaves it there; owned by `owner`, None: by whoever makes it."""

    directory: Path
    seed: int = 0
    owner: int | None = None
    uids: list[str] = field(default_factory=list)
    now: int = START

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def make(self, documents: int = 1000) -> None:
        """Write the documents of a year, without the caches."""
        self.directory.mkdir(exist_ok=True)
        self._write(self.directory / "version", b"6", self.now)
        for number in range(documents):
            self.add(START - (documents - number) * DAY // 4)

    def make_caches(self) -> None:
        """Write what Sugar keeps beside the documents: an index of a megabyte, and checksums."""
        for name in ("index", "checksums"):
            (self.directory / name).mkdir(exist_ok=True)
        self._write(self.directory / "index" / "postlist", self._random.randbytes(1024**2), self.now)
        self._write(self.directory / "index_updated", b"", self.now)

    def pass_day(self) -> None:
        """Edit eight documents, add four and remove one; the index changes with them."""
        self.now += DAY
        for uid in self._random.sample(self.uids, min(8, len(self.uids))):
            self.edit(uid, self.now)
        for _ in range(4):
            self.add(self.now)
        self.remove(self._random.choice(self.uids))
        if (self.directory / "index").is_dir():
            index = bytearray((self.directory / "index" / "postlist").read_bytes())
            index[: 128 * 1024] = self._random.randbytes(128 * 1024)
            self._write(self.directory / "index" / "postlist", bytes(index), self.now)

    def add(self, when: int) -> str:
        """Add a document dated `when`; return its uid."""
        uid = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        self.uids.append(uid)
        bundle, mime_type, plain = self._random.choice(ACTIVITIES)
        data = self._data(plain)
        properties = {
            "activity": bundle,
            "activity_id": f"{self._random.getrandbits(160):040x}",
            "creation_time": str(when),
            "icon-color": "#FF2B34,#005FE4",
            "keep": self._random.choice("01"),
            "launch-times": str(when),
            "mime_type": mime_type,
            "share-scope": "private",
            "tags": "",
            "title": " ".join(word.decode() for word in self._random.choices(WORDS, k=4)),
            "title_set_by_user": self._random.choice("01"),
            "uid": uid,
        }
        entry = self.directory / uid[:2] / uid
        for directory in (entry.parent, entry, entry / "metadata"):
            self._make_directory(directory)
        for key, value in properties.items():
            self._write(entry / "metadata" / key, value.encode(), when)
        self._write_what_changes(entry, data, when)
        return uid

    def edit(self, uid: str, when: int) -> None:
        """Change the content of a document, as its activity does when it is closed."""
        entry = self.directory / uid[:2] / uid
        activity = (entry / "metadata" / "activity").read_text()
        plain = next(plain for bundle, _, plain in ACTIVITIES if bundle == activity)
        self._write_what_changes(entry, self._data(plain) or b"first words", when)

    def remove(self, uid: str) -> None:
        """Remove a document."""
        self.uids.remove(uid)
        shutil.rmtree(self.directory / uid[:2] / uid)

    def _write_what_changes(self, entry: Path, data: bytes | None, when: int) -> None:
        changed = {
            "preview": b"\x89PNG\r\n\x1a\n" + self._random.randbytes(self._random.randint(2048, 12 * 1024)),
            "timestamp": b"%d" % when,
            "mtime": b"%d" % when,
            "filesize": b"%d" % len(data or b""),
            "spent-times": b"%d" % self._random.randint(60, 3600),
        }
        for key in EDITED:
            self._write(entry / "metadata" / key, changed[key], when)
        if data is not None:
            self._write(entry / "data", data, when)

    def _data(self, plain: bool) -> bytes | None:
        """Return a document's data: a few kilobytes mostly, now and then a megabyte; one in ten entries has none."""
        if self._random.random() < 0.1:
            return None
        size = min(int(self._random.lognormvariate(9.4, 1.5)), 1024**2)
        if not plain:  # pictures, and documents that are archives: they compress no further
            return self._random.randbytes(size)
        return b" ".join(self._random.choices(WORDS, k=size // 4 + 1))[:size]

    def _make_directory(self, directory: Path) -> None:
        if not directory.exists():
            directory.mkdir()
            if self.owner is not None:
                os.chown(directory, self.owner, self.owner)

    def _write(self, path: Path, content: bytes, when: int) -> None:
        # As rsync does: under another name first, so that a changed file is another inode.
        new = path.with_name(f".{path.name}.new")
        new.write_bytes(content)
        if self.owner is not None:
            os.chown(new, self.owner, self.owner)
        os.utime(new, (when, when))
        new.rename(path)
