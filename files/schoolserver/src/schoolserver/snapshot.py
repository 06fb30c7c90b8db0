# SPDX-License-Identifier: GPL-3.0-or-later
"""From a completed run to a snapshot (docs/architecture.md, "A run, and what a crash leaves").

The order is the promise: nothing gets its final name before it is on the disk, what left is set aside before the new
snapshot can hide it, and the mark goes last. Whatever instruction a crash hits, the next start finishes the work.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from schoolserver import btrfs, catalog, datastore, erasure, keepsakes, local_socket, paths
from schoolserver.errors import Refusal
from schoolserver.names import TREE
from schoolserver.stamps import next_stamp
from schoolserver.trees import CACHES

INCOMING = "datastore-current"
SNAPSHOTS = "datastore"
LATEST = "datastore-latest"
MARK = "complete"

# They tell Sugar that its caches are whole. In a restore without the caches they would make it open an empty index
# and show an empty Journal (carquinyol datastore.__init__, the fast path).
CACHE_FLAGS = ("index_updated", "ds_clean")

MOST_A_DAY = 24  # later runs of a tree join the next: a laptop in a loop cannot fill the history
DAY = 24 * 3600
_LOCK_TRIES, _LOCK_PAUSE = 20, 0.05  # seconds; the gate reports just after it let go
_CLEAN_SECONDS = 5.0  # less than a gate waits for its answer; what is left then goes at the next report


def take(tree: Path, now: datetime, catalog_file: Path = paths.CATALOG) -> str | None:
    """Snapshot the completed run that waits in `tree` and return its stamp; None when none waits, or the day is full.

    Raise Refusal when a session holds the tree, OSError when the file system fails: the mark stays, and the next call
    tries again.
    """
    with _state(tree) as state, _locked(state):
        remove_leftovers(tree)
        if not _is_marked(state) or _taken_today(tree, now) >= MOST_A_DAY:
            return None
        stamp = _take_locked(tree, now)
        os.unlink(MARK, dir_fd=state)
    # Last, and without the lock: if what a laptop wrote were too much for it, the next start would not try it again,
    # and the next session of this laptop need not wait for it.
    _tell(catalog_file, tree)
    return stamp


def remove_leftovers(tree: Path) -> None:
    """Undo or finish what a crash interrupted, marks aside; raise OSError. The caller holds the tree's lock."""
    for name in os.listdir(tree / SNAPSHOTS) if (tree / SNAPSHOTS).is_dir() else []:
        if name.endswith(".new"):
            btrfs.delete_subvolume(tree / SNAPSHOTS / name)
    if stamps := datastore.snapshots(tree):
        _point_latest(tree, stamps[-1])


def sweep(users: Path, now: datetime, catalog_file: Path = paths.CATALOG) -> None:
    """Take what waits in every tree of `users`: marks whose report got lost, or whose work a crash interrupted."""
    erasure.sweep(users)
    for tree in datastore.trees(users):
        try:
            keepsakes.remove_leftovers(tree)
            if stamp := take(tree, now, catalog_file):
                print(f"{tree.name}: took {stamp}, which was waiting", flush=True)
        except Exception as error:  # whatever one laptop wrote, the others' snapshots are taken
            why = error if isinstance(error, OSError | Refusal) else traceback.format_exc()
            print(f"{tree.name}: not taken, will be tried again: {why}", file=sys.stderr, flush=True)


def answer(request: local_socket.Message, uid: int, users: Path = paths.USERS) -> local_socket.Message:
    """Answer {"tree"} from the process with `uid` by {"ok", "stamp"}; raise Refusal."""
    tree = tree_named(users, request.get("tree"))
    # Only the owner may ask: one learner's gate must not make another's unfinished work final.
    if uid not in (0, os.stat(tree / ".state", follow_symlinks=False).st_uid):
        raise Refusal(f"{tree.name} is another learner's tree")
    try:
        return {"ok": True, "stamp": take(tree, datetime.now(UTC))}
    except OSError as error:
        raise Refusal(f"no snapshot of {tree.name} yet, the next run tries again: {error}") from error


def tree_named(users: Path, name: object) -> Path:
    """Return the directory of the tree called `name` below `users`; raise Refusal if there is none."""
    # The name comes from a gate that a learner runs: ".." or a slash must not lead root elsewhere.
    if isinstance(name, str) and TREE.fullmatch(name):
        tree = users / name
        if tree.is_dir() and not tree.is_symlink() and (tree / ".state").is_dir():
            return tree
    raise Refusal(f"no tree is called {str(name)[:80]!r}")


def main() -> None:
    """Serve the socket `snapshot` that systemd passed, after taking what waits."""
    os.umask(0o022)
    try:
        listener = local_socket.inherited("snapshot")
    except Refusal as refusal:
        sys.exit(str(refusal))
    sweep(paths.USERS, datetime.now(UTC))
    try:
        catalog.make_ready(paths.CATALOG, paths.USERS)
    except (OSError, sqlite3.Error) as error:
        print(f"no catalog for now: {error}", file=sys.stderr, flush=True)
    local_socket.serve(listener, answer)


def _take_locked(tree: Path, now: datetime) -> str:
    stamps = datastore.snapshots(tree)
    newest = stamps[-1] if stamps else None
    stamp = next_stamp(now, newest)
    incoming, unfinished = tree / INCOMING, tree / SNAPSHOTS / f".{stamp}.new"
    _renew_caches(incoming)
    btrfs.snapshot(incoming, unfinished)
    _seal(unfinished)
    if newest is not None:
        keepsakes.after_run(tree, newest, unfinished, stamp)
    btrfs.sync(tree)
    unfinished.rename(tree / SNAPSHOTS / stamp)
    _point_latest(tree, stamp)
    btrfs.sync(tree)
    return stamp


def _seal(unfinished: Path) -> None:
    descriptor = os.open(unfinished, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        # Root's before it is read-only: whoever owns the top may make it writable again (facts/peers.md, finding 5).
        os.fchown(descriptor, 0, 0)
        os.fchmod(descriptor, 0o755)
        for name in CACHE_FLAGS:
            _remove_file(descriptor, name)
    finally:
        os.close(descriptor)
    btrfs.set_read_only(unfinished, True)


def _renew_caches(incoming: Path) -> None:
    # A laptop may remove them, or put a plain directory or a link there.
    for name in CACHES:
        cache = incoming / name
        if btrfs.is_subvolume(cache):
            continue
        parent = os.open(incoming, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            owner = os.fstat(parent)
            _remove_file(parent, name)
            if _exists(parent, name):
                _remove_directory(cache)
            btrfs.create_subvolume(cache)
            descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
            try:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
                os.fchmod(descriptor, 0o755)
            finally:
                os.close(descriptor)
        finally:
            os.close(parent)


def _remove_file(directory: int, name: str) -> None:
    with suppress(FileNotFoundError, IsADirectoryError):
        os.unlink(name, dir_fd=directory)


def _remove_directory(path: Path) -> None:
    # rm walks any depth in little memory; rmtree() calls itself, and a thousand directories in one another end it.
    # On the way it opens nothing through a link, and it is stopped: a million files must not hold up the school.
    command = ["rm", "--recursive", "--force", "--", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CLEAN_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{path.name} is so large that its removal goes on at the next run") from error
    if done.returncode:
        raise OSError(f"{path.name} cannot be removed: {done.stderr.strip()[-300:]}")


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _point_latest(tree: Path, stamp: str) -> None:
    latest, temporary = tree / LATEST, tree / f".{LATEST}.new"
    target = f"{SNAPSHOTS}/{stamp}"
    if latest.is_symlink() and os.readlink(latest) == target:
        return
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.rename(latest)


def _taken_today(tree: Path, now: datetime) -> int:
    # By the change time that sealing gave them, not by their names: after a leap of the clock names run ahead of it.
    times = (os.stat(tree / SNAPSHOTS / stamp).st_ctime for stamp in datastore.snapshots(tree)[-MOST_A_DAY:])
    return sum(0 <= now.timestamp() - taken < DAY for taken in times)


def _tell(catalog_file: Path, tree: Path) -> None:
    try:
        catalog.update(catalog_file, tree)
    except (OSError, sqlite3.Error) as error:  # derived, and rebuilt later: it must never stop a snapshot
        print(f"{tree.name}: the catalog is late: {error!r}", file=sys.stderr, flush=True)


def _is_marked(state: int) -> bool:
    return _exists(state, MARK)


@contextmanager
def _state(tree: Path) -> Iterator[int]:
    descriptor = os.open(tree / ".state", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _locked(state: int) -> Iterator[None]:
    lock = _open_lock(state)
    try:
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE)
        else:
            # Never wait for long: a learner who holds her own lock must not hold up the others.
            raise Refusal("a session is under way: its end takes the snapshot")
        yield
    finally:
        os.close(lock)


def _open_lock(state: int) -> int:
    # The learner owns .state: a link there must not make root open another file, nor a pipe make it wait.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        lock = os.open("lock", flags, dir_fd=state)
    except FileNotFoundError:
        lock = os.open("lock", flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=state)
        owner = os.fstat(state)
        os.fchown(lock, owner.st_uid, owner.st_gid)
    if not stat.S_ISREG(os.fstat(lock).st_mode):
        os.close(lock)
        raise Refusal("the lock is not a file")
    return lock


if __name__ == "__main__":
    main()
