# SPDX-License-Identifier: GPL-3.0-or-later
"""The place beside the Journal where documents arrive: fetched, looked at, and not yet in the Journal.

An interrupted fetch goes on from what is there. Nothing that arrives is trusted: links are not followed, and an entry
counts only when its files are those that the server's listing promised, and Sugar can read them.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Callable, Iterable, NamedTuple, Sequence

from xo_client import filter_rules, layout0, rebuild, rsync
from xo_client.errors import Trouble
from xo_client.restore_plan import Document, Left, Source

_CONVERTED = "converted"  # beside the drawers of its tree
_TITLES = "titles"


class Checked(NamedTuple):
    """What came whole."""

    places: dict[str, str]  # uid: the entry's directory, relative to the staging's top
    left: list[Left]


class Staging:
    """One directory, on the file system of the Journal, so that moving is renaming."""

    def __init__(self, state: Path, datastore: Path) -> None:
        """`state` is the client's own folder. Where the datastore lies on another disk it is a directory beside it."""
        real = Path(os.path.realpath(datastore))
        same = _device(real) in (None, _device(state.parent))
        self._found: dict[str, str] = {}  # by uid, what look() found: why it cannot be brought back, or ""
        self.top = state / "restore" if same else real.parent / ".xo-restore"

    def folder(self, source: Source) -> Path:
        """Return where the documents of one tree arrive: the next snapshot of it finds what the last one left."""
        return self.top / source.tree

    def there(self, wanted: Iterable[Document]) -> dict[str, int]:
        """Return {uid: bytes that are here already} for those of `wanted` of which anything is."""
        if not self.top.exists():
            return {}
        found = {document.uid: self._bytes_of(document) for document in wanted}
        return {uid: size for uid, size in found.items() if size}

    def _bytes_of(self, document: Document) -> int:
        return sum(size for size, _ in regular(self.folder(document.source), _paths(document).values()).values())

    def prune(self, wanted: Sequence[Document]) -> None:
        """Remove all that is not part of `wanted`; raise OSError."""
        if not self.top.exists():
            return
        keep = {os.path.join(self.folder(one.source), path) for one in wanted for path in _paths(one).values()}
        for folder, names, files in os.walk(self.top, topdown=False):
            for name in files:
                if os.path.join(folder, name) not in keep:
                    _remove(os.path.join(folder, name))
            for name in names:
                _remove(os.path.join(folder, name))

    def fetch(
        self,
        remote: rsync.Remote,
        wanted: Sequence[Document],
        counts: dict[Source, int],
        cancel: threading.Event,
        progress: Callable[[int], None],
    ) -> None:
        """Bring `wanted` here, tree after tree; `counts` says how many documents each source has. Raise Trouble.

        `progress` is given the bytes so far, with those that were here before.
        """  # fmt: skip
        before = sum(self.there(wanted).values())
        for source in sorted({document.source for document in wanted}):
            chosen = [document for document in wanted if document.source == source]
            base = before
            rules = filter_rules.for_documents(chosen, counts[source])
            most = 0

            def count(sent: int, base: int = base) -> None:
                nonlocal most
                most = sent
                progress(base + sent)

            rsync.pull(remote, source.path, self.folder(source), rules=rules, cancel=cancel, progress=count)
            before = base + most

    def titles(self, remote: rsync.Remote, wanted: Sequence[Document], cancel: threading.Event) -> dict[str, str]:
        """Return the titles of `wanted` as far as the server gives them, and fetch nothing else. Raise Trouble."""
        found: dict[str, str] = {}
        for source in sorted({document.source for document in wanted if not document.old}):
            uids = [document.uid for document in wanted if document.source == source]
            into = self.top / _TITLES
            rsync.pull(remote, source.path, into, rules=filter_rules.for_titles(uids), cancel=cancel)
            found.update({uid: rebuild.title(into / uid[:2] / uid) for uid in uids})
            shutil.rmtree(into, ignore_errors=True)
        return found

    def look(self, arrived: Sequence[Document]) -> None:
        """Look at documents while others still arrive, and keep what is found for check(). Not all need be there."""
        for document in arrived:
            place = self.folder(document.source) / document.uid[:2] / document.uid
            with suppress(OSError):  # it is not all there
                if not document.old and self._is_whole(document) and not _has_others(place, document):
                    self._found[document.uid] = rebuild.damage(place)

    def check(self, wanted: Sequence[Document], cancel: threading.Event, progress: Callable[[int], None]) -> Checked:
        """Look at each of `wanted`, and return which are whole and which are not; `progress` is given their number."""
        places, left = {}, []
        for number, document in enumerate(wanted, 1):
            if cancel.is_set():
                break
            place, why = self._checked(document)
            if why:
                left.append(Left(document.uid, rebuild.title(place), why))
            else:
                places[document.uid] = str(place.relative_to(self.top))
            progress(number)
        return Checked(places, left)

    def _checked(self, document: Document) -> tuple[Path, str]:
        """Return where the entry is, and why it cannot be brought back, "" where it can."""
        folder = self.folder(document.source)
        place = folder / document.uid[:2] / document.uid
        known = self._found.pop(document.uid, None)
        try:
            if known is not None and not _has_others(place, document):
                if "metadata/creation_time" not in document.files:
                    rebuild.complete(place)
                return place, known
            if not self._is_whole(document):
                return place, "the school server could not read all of it"
            if document.old:
                store, place = folder / layout0.STORE, folder / _CONVERTED / document.uid
                shutil.rmtree(place, ignore_errors=True)
                layout0.convert(store, document.uid, place)
            elif _has_others(place, document):
                _remove_others(place, document)
            if "metadata/creation_time" not in document.files:
                rebuild.complete(place)
            return place, rebuild.damage(place)
        except layout0.Unreadable as error:
            return place, str(error)
        except OSError as error:
            raise Trouble("disk") from error

    def _is_whole(self, document: Document) -> bool:
        paths = _paths(document)
        arrived = regular(self.folder(document.source), paths.values())
        return arrived == {paths[name]: file for name, file in document.files.items()}


def _paths(document: Document) -> dict[str, str]:
    """Return {name in the entry: path in its tree's folder}."""
    uid = document.uid
    if document.old:
        where = {"data": uid, "metadata": layout0.metadata(uid), "metadata/preview": f"preview/{uid}"}
        return {name: f"{layout0.STORE}/{where[name]}" for name in document.files}
    return {name: f"{uid[:2]}/{uid}/{name}" for name in document.files}


def regular(top: Path, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return {name: (bytes, seconds since 1970 of its mtime)} of those of `names` below `top` that are files."""
    found = {}
    for name in names:
        try:
            one = os.lstat(os.path.join(top, name))
        except OSError:
            continue
        if stat.S_ISREG(one.st_mode):
            found[name] = (one.st_size, int(one.st_mtime_ns // 1_000_000_000))
    return found


def _has_others(place: Path, document: Document) -> bool:
    """Say whether there is more in an entry than its listing has."""
    return len(os.listdir(place)) + len(os.listdir(place / "metadata")) != len(document.files) + 1


def _remove_others(place: Path, document: Document) -> None:
    """Remove from an entry what its listing does not have: a link, above all."""
    for above, names, files in os.walk(place, topdown=False):
        for name in names + files:
            path = os.path.join(above, name)
            inner = os.path.relpath(path, place)
            if inner in document.files or inner == "metadata":
                continue
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)


def _remove(path: str) -> None:
    """Remove a file, a link, or an empty directory; a directory with something in it stays."""
    try:
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
        else:
            os.rmdir(path)
    except OSError as error:
        # rsync of a run that was killed may live on for a moment: what it was writing has another name by now.
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            raise


def _device(path: Path) -> int | None:
    try:
        return os.stat(path).st_dev
    except OSError:
        return None
