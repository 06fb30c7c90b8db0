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
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from schoolserver import catalog, datastore, engines, erasure, keepsakes, local_server, local_socket, paths, unreadable
from schoolserver.engines import DATASTORE, KINDS, Kind
from schoolserver.errors import Refusal
from schoolserver.names import TREE
from schoolserver.stamps import next_stamp, time_of, written

LATEST = "datastore-latest"

MOST_A_DAY = 24  # later runs of a tree join the next: a laptop in a loop cannot fill the history
DAY = 24 * 3600
_LOCK_TRIES, _LOCK_PAUSE = 20, 0.05  # seconds; the gate reports just after it let go


def take(tree: Path, now: datetime, catalog_file: Path = paths.CATALOG) -> str | None:
    """Snapshot what completed runs wait in `tree`; return the stamp of the datastore's snapshot, None if there is none.

    None is taken where none waits, or the day is full. Raise Refusal when a session holds the tree, OSError when the
    file system fails: the mark stays, and the next call tries again.
    """
    return _take_waiting(tree, now, catalog_file).get(DATASTORE)


def waits(tree: Path, now: datetime) -> bool:
    """Say whether take() would take something now."""
    with _state(tree) as state:
        return any(_waits(tree, state, kind, now) for kind in KINDS)


@contextmanager
def held(tree: Path) -> Iterator[int]:
    """Hold the tree's lock, so that no session writes meanwhile; yield its .state; raise Refusal while one does."""
    with _state(tree) as state, _locked(state):
        yield state


def mark(state: int, kind: Kind = DATASTORE) -> None:
    """Say in the .state of a tree that its incoming is complete and waits for its snapshot."""
    os.close(os.open(kind.mark, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=state))


def remove_leftovers(tree: Path, state: int) -> None:
    """Undo or finish what a crash interrupted, marks aside; raise OSError.

    The caller holds the tree's lock; `state` is the descriptor that held() yields.
    """
    engine = engines.of(tree)
    for kind in KINDS:
        _give_back(tree / kind.incoming, os.fstat(state))
        directory = tree / kind.snapshots
        for name in os.listdir(directory) if directory.is_dir() else []:
            if name.endswith(".new"):
                engine.remove(directory / name)
    if stamps := datastore.snapshots(tree):
        _point_latest(tree, stamps[-1])


def sweep(users: Path, now: datetime, catalog_file: Path = paths.CATALOG) -> None:
    """Take what waits in every tree of `users`: marks whose report got lost, or whose work a crash interrupted."""
    erasure.sweep(users)
    for tree in datastore.trees(users):
        try:
            with held(tree):  # a person may be removing keepsakes, or taking a snapshot
                keepsakes.remove_leftovers(tree)
            if taken := _take_waiting(tree, now, catalog_file):
                said = " and ".join(_called(kind, stamp) for kind, stamp in taken.items())
                print(f"{tree.name}: took {said}, which was waiting", flush=True)
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
        listener = local_server.inherited("snapshot")
    except Refusal as refusal:
        sys.exit(str(refusal))
    sweep(paths.USERS, datetime.now(UTC))
    try:
        catalog.make_ready(paths.CATALOG, paths.USERS)
    except (OSError, sqlite3.Error) as error:
        print(f"no catalog for now: {error}", file=sys.stderr, flush=True)
    local_server.serve(listener, answer)


def _take_waiting(tree: Path, now: datetime, catalog_file: Path) -> dict[Kind, str]:
    taken: dict[Kind, str] = {}
    try:
        with held(tree) as state:
            remove_leftovers(tree, state)
            for kind in KINDS:
                if _waits(tree, state, kind, now):
                    taken[kind] = _take_locked(tree, kind, now)
                    os.unlink(kind.mark, dir_fd=state)
    finally:  # though documents/ may have failed, the Journal page shows what was taken before
        # Last, and without the lock: if what a laptop wrote were too much for it, the next start would not try it
        # again, and the next session of this laptop need not wait for it.
        if DATASTORE in taken:
            _tell(catalog_file, tree)
    return taken


def _give_back(incoming: Path, owner: os.stat_result) -> None:
    """Give the learner her incoming back, which is root's for the moment in which an engine takes a snapshot of it."""
    try:
        status = os.stat(incoming, follow_symlinks=False)
    except FileNotFoundError:  # a tree from before it had this one
        return
    if (status.st_uid, status.st_gid) != (owner.st_uid, owner.st_gid):
        os.chown(incoming, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _called(kind: Kind, stamp: str) -> str:
    return stamp if kind is DATASTORE else f"{kind.snapshots}/{stamp}"


def _take_locked(tree: Path, kind: Kind, now: datetime) -> str:
    engine, directory = engines.of(tree), tree / kind.snapshots
    directory.mkdir(0o755, exist_ok=True)
    stamps = datastore.snapshots(tree, kind.snapshots)
    newest = stamps[-1] if stamps else None
    stamp = next_stamp(now, newest)
    if kind is DATASTORE and time_of(stamp) - now > timedelta(seconds=DAY):
        clock = f"the clock says {written(now)}, the newest snapshot {newest}"
        print(f"{tree.name}: {clock}: the next is called {stamp}", file=sys.stderr, flush=True)
    unfinished = directory / f".{stamp}.new"
    unread = engine.take(tree / kind.incoming, unfinished, directory / newest if newest else None, kind)
    if kind is DATASTORE and newest is not None:
        keepsakes.after_run(tree, newest, unfinished, stamp, engine.sync)
    engine.sync(tree)
    unfinished.rename(directory / stamp)
    if kind is DATASTORE:
        _point_latest(tree, stamp)
    engine.sync(tree)
    if kind is DATASTORE:
        keepsakes.release_returned(tree, stamp)
    unreadable.settle(tree, kind, stamp, unread)
    return stamp


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _point_latest(tree: Path, stamp: str) -> None:
    latest, temporary = tree / LATEST, tree / f".{LATEST}.new"
    target = f"{DATASTORE.snapshots}/{stamp}"
    if latest.is_symlink() and os.readlink(latest) == target:
        return
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.rename(latest)


def _waits(tree: Path, state: int, kind: Kind, now: datetime) -> bool:
    return _exists(state, kind.mark) and _taken_today(tree, kind, now) < MOST_A_DAY


def _taken_today(tree: Path, kind: Kind, now: datetime) -> int:
    # By the change time that naming gave them, not by their names: after a leap of the clock names run ahead of it.
    directory = tree / kind.snapshots
    times = (os.stat(directory / stamp).st_ctime for stamp in datastore.snapshots(tree, kind.snapshots)[-MOST_A_DAY:])
    return sum(0 <= now.timestamp() - taken < DAY for taken in times)


def _tell(catalog_file: Path, tree: Path) -> None:
    try:
        catalog.update(catalog_file, tree)
    except (OSError, sqlite3.Error) as error:  # derived, and rebuilt later: it must never stop a snapshot
        print(f"{tree.name}: the catalog is late: {error!r}", file=sys.stderr, flush=True)


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
