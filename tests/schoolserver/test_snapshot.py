# SPDX-License-Identifier: GPL-3.0-or-later
"""On a real btrfs, with real crashes: the process is killed at each step that changes something."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import crashing
import school
from promises import CHANGES
from schoolserver import btrfs, catalog, datastore, engines, keepsakes, pins, snapshot
from schoolserver.engines import DATASTORE, subvolumes
from schoolserver.errors import Refusal

ONE, TWO = school.uid(1), school.uid(2)


@pytest.fixture
def tree(any_library: Path) -> Path:
    return school.make_tree(any_library / "users")


@pytest.fixture
def btrfs_tree(library: Path) -> Path:
    return school.make_tree(library / "users")


def sealed(snapshot_: Path) -> bool:
    """Whether nobody but root can change the finished snapshot, and nobody at all where the file system can do that."""
    if btrfs.is_btrfs(snapshot_):
        return btrfs.is_read_only(snapshot_)
    paths = [snapshot_, *(path for path in snapshot_.rglob("*") if not path.is_symlink())]
    return all((path.stat().st_uid, path.stat().st_mode & 0o022) == (0, 0) for path in paths)


def take(tree: Path, when: datetime = school.START) -> str | None:
    return snapshot.take(tree, when, tree.parent.parent / "catalog.db")


def run(tree: Path, when: datetime = school.START) -> str:
    school.end_run(tree)
    stamp = take(tree, when)
    assert stamp is not None
    return stamp


def test_a_completed_run_becomes_a_snapshot_and_latest_points_to_it(tree: Path) -> None:
    school.write_document(tree / "datastore-current", ONE)
    assert run(tree) == "2026-11-23T101500Z"
    assert os.readlink(tree / "datastore-latest") == "datastore/2026-11-23T101500Z"
    assert datastore.entries(tree / "datastore" / "2026-11-23T101500Z") == {ONE: True}
    assert not (tree / ".state" / "complete").exists()


def test_without_a_completed_run_nothing_is_taken(tree: Path) -> None:
    assert take(tree) is None
    assert os.listdir(tree / "datastore") == []
    assert not (tree / "datastore-latest").exists()


def test_a_snapshot_is_roots_and_read_only_and_does_not_change(tree: Path) -> None:
    school.write_document(tree / "datastore-current", ONE, b"first")
    os.chown(tree / "datastore-current", school.LEARNER, school.LEARNER)
    first = tree / "datastore" / run(tree)
    before = school.contents(first)
    status = first.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (0, 0, 0o755)
    assert sealed(first)
    school.write_document(tree / "datastore-current", ONE, b"second")
    run(tree, school.day(1))
    assert school.contents(first) == before


def test_caches_stay_out(tree: Path) -> None:
    for name in ("index", "checksums"):
        (tree / "datastore-current" / name / "cache").write_text("cache")
    taken = tree / "datastore" / run(tree)
    assert sorted(school.contents(taken)) == ["index_updated", "version"]


def test_incoming_is_the_learners_again(tree: Path) -> None:
    os.chown(tree / "datastore-current", 0, 0)  # what a crash in the middle leaves
    run(tree)
    status = (tree / "datastore-current").stat()
    assert (status.st_uid, status.st_gid) == (school.LEARNER, school.LEARNER)


@pytest.mark.parametrize("instead", ["nothing", "directory", "link", "file"])
def test_caches_that_the_laptop_replaced_are_made_again(btrfs_tree: Path, instead: str) -> None:
    index = btrfs_tree / "datastore-current" / "index"
    btrfs.delete_subvolume(index)
    if instead == "directory":
        (index / "deep").mkdir(parents=True)
        (index / "deep" / "cache").write_text("cache")
    elif instead == "link":
        index.symlink_to(btrfs_tree / "keepsakes")
    elif instead == "file":
        index.write_text("cache")
    taken = btrfs_tree / "datastore" / run(btrfs_tree)
    assert btrfs.is_subvolume(index)
    assert index.stat().st_uid == school.LEARNER
    assert sorted(school.contents(taken)) == ["index_updated", "version"]
    assert (btrfs_tree / "keepsakes").stat().st_uid == 0


def bury(directory: Path, depth: int) -> None:
    """Make `depth` directories, one in another, below the directory that is made."""
    directory.mkdir()
    descriptor = os.open(directory, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("a", dir_fd=descriptor)
        below = os.open("a", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


def test_a_bottomless_cache_of_one_laptop_is_removed_and_stops_no_other(btrfs_tree: Path) -> None:
    deep = school.make_tree(btrfs_tree.parent, "AAA00000000")
    btrfs.delete_subvolume(deep / "datastore-current" / "index")
    bury(deep / "datastore-current" / "index", 1500)
    for each in (deep, btrfs_tree):
        school.end_run(each)
    snapshot.sweep(btrfs_tree.parent, school.START, btrfs_tree.parent.parent / "catalog.db")
    assert [len(datastore.snapshots(each)) for each in (deep, btrfs_tree)] == [1, 1]
    assert btrfs.is_subvolume(deep / "datastore-current" / "index")


def test_a_cache_that_takes_too_long_to_remove_goes_in_several_runs(
    btrfs_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    btrfs.delete_subvolume(btrfs_tree / "datastore-current" / "index")
    bury(btrfs_tree / "datastore-current" / "index", 1500)
    school.end_run(btrfs_tree)
    monkeypatch.setattr(subvolumes, "_CLEAN_SECONDS", 0.0001)
    with pytest.raises(OSError, match="goes on at the next run"):
        take(btrfs_tree)
    monkeypatch.undo()
    assert take(btrfs_tree) is not None


def test_an_error_nobody_thought_of_stops_no_other_tree(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = school.make_tree(tree.parent, "AAA00000000")
    run(bad)
    (bad / pins.FILE).write_text("[" * 100_000)  # a RecursionError in the parser
    for each in (bad, tree):
        school.end_run(each)
    snapshot.sweep(tree.parent, school.day(1), tree.parent.parent / "catalog.db")
    assert len(datastore.snapshots(tree)) == 1
    assert "AAA00000000: not taken" in capsys.readouterr().err


def test_what_left_is_a_keepsake_before_the_new_snapshot_has_its_name(tree: Path) -> None:
    school.write_document(tree / "datastore-current", ONE, b"dear", preview=school.PNG)
    school.write_document(tree / "datastore-current", TWO)
    first = run(tree)
    kept = school.contents(tree / "datastore" / first / "01" / ONE)
    school.remove_document(tree / "datastore-current", ONE)
    run(tree, school.day(1))
    assert list(keepsakes.every(tree)) == [(ONE, first)]
    assert school.contents(tree / "keepsakes" / ONE / first) == kept


def write_first_sugars(incoming: Path, uid: str) -> None:
    store = incoming / "store"
    store.mkdir(exist_ok=True)
    (store / uid).write_bytes(b"words")
    (store / f"{uid}.metadata").write_text(json.dumps({"title": "House"}))


@pytest.mark.parametrize("layout", ["0", "2", "4"])
def test_an_old_datastore_is_taken_as_it_is_and_what_leaves_it_is_kept(tree: Path, layout: str) -> None:
    incoming = tree / "datastore-current"
    (incoming / "version").unlink()
    if layout != "0":
        (incoming / "version").write_text(layout)
    for uid in (ONE, TWO):
        if layout == "0":
            write_first_sugars(incoming, uid)
        else:
            school.write_document(incoming, uid)
    first = run(tree)
    taken = tree / "datastore" / first
    assert school.contents(taken) == dict(school.contents(incoming).items())
    assert datastore.entries(taken) == {ONE: True, TWO: True}
    if layout == "0":
        for name in (ONE, f"{ONE}.metadata"):
            (incoming / "store" / name).unlink()
    else:
        school.remove_document(incoming, ONE)
    run(tree, school.day(1))
    assert list(keepsakes.every(tree)) == [(ONE, first)]
    assert (tree / "keepsakes" / ONE / first / "data").read_bytes() == b"words"


def test_names_never_go_back_when_the_clock_does(tree: Path) -> None:
    assert run(tree) == "2026-11-23T101500Z"
    assert run(tree, datetime(2006, 1, 1, tzinfo=UTC)) == "2026-11-23T101501Z"
    assert os.readlink(tree / "datastore-latest") == "datastore/2026-11-23T101501Z"


def test_the_twenty_fifth_run_of_a_day_joins_the_next(tree: Path) -> None:
    now = datetime.now(UTC)
    for number in range(snapshot.MOST_A_DAY):
        run(tree, now + timedelta(seconds=10 + number))
    school.end_run(tree)
    assert take(tree, now + timedelta(minutes=5)) is None
    assert (tree / ".state" / "complete").exists()
    assert take(tree, now + timedelta(days=1, minutes=5)) is not None


def test_a_leap_of_the_clock_stops_no_snapshot(tree: Path) -> None:
    run(tree, datetime(2066, 1, 1, tzinfo=UTC))
    for number in range(snapshot.MOST_A_DAY + 2):
        assert run(tree, school.day(0) - timedelta(days=7) + timedelta(hours=number)).startswith("2066-01-01T0000")


def test_a_session_under_way_is_left_alone(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_LOCK_TRIES", 2)
    school.end_run(tree)
    with (tree / ".state" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Refusal, match="session is under way"):
            take(tree)
    assert take(tree) is not None


def test_a_lock_that_is_no_file_holds_nobody(tree: Path) -> None:
    school.end_run(tree)
    os.mkfifo(tree / ".state" / "lock")
    with pytest.raises(Refusal, match="not a file"):
        take(tree)
    (tree / ".state" / "lock").unlink()
    (tree / ".state" / "lock").symlink_to("/etc/hostname")
    with pytest.raises(OSError):
        take(tree)


def test_a_lock_made_here_is_the_learners(tree: Path) -> None:
    run(tree)
    assert (tree / ".state" / "lock").stat().st_uid == school.LEARNER


def test_only_the_trees_owner_and_root_may_report(tree: Path) -> None:
    users = tree.parent
    assert snapshot.answer({"tree": tree.name}, school.LEARNER, users) == {"ok": True, "stamp": None}
    assert snapshot.answer({"tree": tree.name}, 0, users) == {"ok": True, "stamp": None}
    with pytest.raises(Refusal, match="another learner"):
        snapshot.answer({"tree": tree.name}, school.LEARNER + 1, users)


@pytest.mark.parametrize(
    "name", ["..", ".", "", "SHC00000000", "SHC12345678/.state", "../users/SHC12345678", 7, None, "a\0b", "\ud800"]
)
def test_a_name_leads_nowhere_else(tree: Path, name: object) -> None:
    with pytest.raises(Refusal, match="no tree is called"):
        snapshot.answer({"tree": name}, 0, tree.parent)


def test_a_broken_catalog_stops_no_snapshot(tree: Path) -> None:
    file = tree.parent.parent / "catalog.db"
    file.mkdir()
    school.end_run(tree)
    assert snapshot.take(tree, school.START, file) is not None


def test_a_catalog_that_ends_the_part_is_not_tried_again_at_every_start(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_file: Path, _tree: Path) -> None:
        raise SystemExit  # as if the kernel had ended a part that took too much memory

    monkeypatch.setattr(catalog, "update", killed)
    school.end_run(tree)
    with pytest.raises(SystemExit):
        take(tree)
    assert len(datastore.snapshots(tree)) == 1
    assert take(tree) is None


def test_a_sweep_takes_what_waits_and_one_bad_tree_stops_no_other(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = school.make_tree(tree.parent, "AAA00000000")
    shutil.rmtree(bad / ".state")
    school.end_run(tree)
    snapshot.sweep(tree.parent, school.START, tree.parent.parent / "catalog.db")
    assert len(datastore.snapshots(tree)) == 1
    printed = capsys.readouterr()
    assert "which was waiting" in printed.out
    assert "AAA00000000: not taken" in printed.err


def test_what_others_are_making_under_the_lock_is_no_leftover_of_a_crash(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    making = tree / "keepsakes" / ONE / ".2026-11-23T101500Z.new"
    making.mkdir(parents=True)
    monkeypatch.setattr(snapshot, "_LOCK_TRIES", 2)
    file = tree.parent.parent / "catalog.db"
    with snapshot.held(tree):
        snapshot.sweep(tree.parent, school.START, file)
    assert making.exists()
    assert "a session is under way" in capsys.readouterr().err
    snapshot.sweep(tree.parent, school.START, file)
    assert os.listdir(tree / "keepsakes") == []


def calls_of(tree: Path, crash_at: int | None) -> int | None:
    """Take a snapshot that is gone, as by kill -9, just before change number `crash_at`; return how many it made."""
    return crashing.stopped_before(crash_at, lambda: take(tree, school.day(1)), CHANGES)


def prepare(library: Path, name: str) -> Path:
    tree = school.make_tree(library / name / "users")
    for number in range(13):
        school.write_document(tree / "datastore-current", school.uid(number), f"words {number}".encode())
    run(tree)
    for number in range(3, 13):
        school.remove_document(tree / "datastore-current", school.uid(number))
    engines.of(tree).remove(tree / "datastore-current" / "checksums")
    school.end_run(tree)
    return tree


def test_killed_before_any_step_the_next_start_finishes(any_library: Path) -> None:
    steps = calls_of(prepare(any_library, "whole"), None)
    assert steps
    assert steps > 30
    for step in sorted({*range(0, steps, max(1, steps // 60)), *range(steps - 20, steps)}):
        tree = prepare(any_library, f"cut{step}")
        first = datastore.snapshots(tree)[0]
        wanted = school.contents(tree / "datastore" / first)
        assert calls_of(tree, step) is None
        # What is seen before the next start: the old state or the new one, never a part of one.
        assert len(school.contents(tree / os.readlink(tree / "datastore-latest"))) in (13 * 6 + 2, 3 * 6 + 2)
        snapshot.sweep(tree.parent, school.day(2), tree.parent.parent / "catalog.db")
        stamps = datastore.snapshots(tree)
        assert len(stamps) in (2, 3)
        assert os.readlink(tree / "datastore-latest") == f"datastore/{stamps[-1]}"
        assert sorted(os.listdir(tree / "datastore")) == stamps
        assert all(sealed(tree / "datastore" / stamp) for stamp in stamps)
        assert school.contents(tree / "datastore" / first) == wanted
        kept = {uid for uid, stamp in keepsakes.every(tree) if stamp == first}
        assert kept == {school.uid(number) for number in range(3, 13)}
        assert pins.read(tree)[first].why == {pins.BULK_LOSS}
        assert not (tree / ".state" / "complete").exists()
        assert not [name for _, _, names in os.walk(tree) for name in names if name.endswith(".new")]


def test_latest_is_mended_though_the_mark_went_with_a_new_session(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tree)

    def cut(_tree: Path, _stamp: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(snapshot, "_point_latest", cut)
    school.end_run(tree)
    with pytest.raises(KeyboardInterrupt):
        snapshot._take_locked(tree, DATASTORE, school.day(1))
    monkeypatch.undo()
    (tree / ".state" / "complete").unlink()
    snapshot.sweep(tree.parent, school.day(2), tree.parent.parent / "catalog.db")
    assert os.readlink(tree / "datastore-latest") == "datastore/2026-11-24T101500Z"
