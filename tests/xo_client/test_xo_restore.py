# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole restore: real rsync, real files, the gate's grammar."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from server_side import LATER, OTHER, STAMP, School, look, uid_of, write
from xo_client import restore, restore_plan
from xo_client.errors import Trouble
from xo_client.progress import Printer, Step
from xo_client.restore import Result, Wish
from xo_client.state import State

FIRST, SECOND, THIRD = uid_of(1), uid_of(2), uid_of(3)


class Told(Printer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.plans: list[dict[str, Any]] = []
        self.steps: list[Step] = []

    def plan(self, **facts: Any) -> None:
        self.plans.append(facts)

    def step(self, step: Step) -> None:
        self.steps.append(step)


class Laptop:
    def __init__(self, top: Path, school: School) -> None:
        self.profile = top / "profile"
        self.journal = self.profile / "datastore"
        self.journal.mkdir(parents=True)
        (self.journal / "version").write_text("6")
        self.state = State(self.profile)
        self.state.make()
        self.school = school
        self.told = Told()

    def restore(self, cancel: threading.Event | None = None, **wish: Any) -> Result:
        engine = restore.Restore(self.state, self.school.remote, self.told, cancel or threading.Event())
        return engine.run(self.school.history, Wish(**wish))

    def title(self, uid: str) -> str:
        return (self.journal / uid[:2] / uid / "metadata" / "title").read_text()

    def titles(self) -> list[str]:
        return sorted(path.read_text() for path in self.journal.glob("??/*/metadata/title"))

    @property
    def staging(self) -> Path:
        return self.state.top / "restore"


@pytest.fixture
def school(tmp_path: Path) -> School:
    return School(tmp_path / "school")


@pytest.fixture
def laptop(tmp_path: Path, school: School) -> Laptop:
    return Laptop(tmp_path, school)


def test_an_empty_journal_gets_everything_and_nothing_the_second_time(laptop: Laptop, school: School) -> None:
    snapshot = school.snapshot()
    for number in range(20):
        write(snapshot, uid_of(number), title=f"Drawing {number}", data=b"x" * number * 1000)
    write(snapshot, uid_of(20), title="No data", data=None, filesize="0")
    (laptop.journal / "index").mkdir()
    (laptop.journal / "index_updated").touch()
    (laptop.journal / "ds_clean").touch()
    (laptop.journal / "checksums" / "queue").mkdir(parents=True)

    result = laptop.restore()

    assert result == Result(21, 0, [], "2026-11-20")
    assert look(laptop.journal) == look(snapshot)
    assert not any((laptop.journal / name).exists() for name in ("index", "index_updated", "ds_clean", "checksums"))
    assert not laptop.staging.exists()
    assert laptop.told.plans[0]["documents"] == 21
    last = [step for step in laptop.told.steps if step.phase == "fetch"][-1]
    assert (last.documents, last.bytes) == (last.of_documents, last.of_bytes)
    assert [step.documents for step in laptop.told.steps if step.phase == "move"][-1] == 21
    before = look(laptop.journal)
    assert laptop.restore() == Result(0, 0, [], "2026-11-20")
    assert look(laptop.journal) == before


def test_what_differs_comes_back_beside_todays_and_what_only_today_has_stays(laptop: Laptop, school: School) -> None:
    snapshot = school.snapshot()
    write(snapshot, FIRST, title="As it was", data=b"old")
    write(laptop.journal, FIRST, title="As it is", data=b"new and longer", when=1_764_000_000)
    write(laptop.journal, SECOND, title="Only here")
    only = look(laptop.journal / SECOND[:2])

    result = laptop.restore()

    assert (result.restored, result.kept, result.left) == (1, 1, [])
    assert look(laptop.journal / FIRST[:2] / FIRST) == look(snapshot / FIRST[:2] / FIRST)
    assert look(laptop.journal / SECOND[:2]) == only
    kept = next(path for path in laptop.journal.glob("??/*") if path.name not in (FIRST, SECOND))
    assert (kept / "data").read_bytes() == b"new and longer"
    assert (kept / "metadata" / "title").read_text().startswith("As it is (20")
    assert (kept / "metadata" / "uid").read_text() == kept.name
    assert kept.parent.name == kept.name[:2]
    before = look(laptop.journal)
    assert laptop.restore().restored == 0
    assert look(laptop.journal) == before


def test_only_what_is_missing(laptop: Laptop, school: School) -> None:
    snapshot = school.snapshot()
    write(snapshot, FIRST, title="As it was")
    write(snapshot, SECOND, title="Gone")
    write(laptop.journal, FIRST, title="As it is")

    result = laptop.restore(missing_only=True)

    assert (result.restored, result.kept) == (1, 0)
    assert laptop.titles() == ["As it is", "Gone"]


def test_two_trees_are_one_journal_and_the_own_comes_first(laptop: Laptop, school: School) -> None:
    own, other = school.snapshot(), school.snapshot(LATER, OTHER)
    write(own, FIRST, title="Own")
    write(other, FIRST, title="Other")
    write(other, SECOND, title="Of the laptop before")

    result = laptop.restore()

    assert result.day == "2026-11-23"
    assert laptop.titles() == ["Of the laptop before", "Own"]


def test_a_day_and_the_latest(laptop: Laptop, school: School) -> None:
    write(school.snapshot(STAMP), FIRST, title="Of the 20th")
    write(school.snapshot(LATER, best=False), SECOND, title="Of the 23rd")

    with pytest.raises(Trouble) as trouble:
        laptop.restore(when="2026-11-19")
    assert trouble.value.reason == "nothing"
    laptop.restore(when="2026-11-22")
    assert laptop.titles() == ["Of the 20th"]
    laptop.restore(when="latest")
    assert laptop.titles() == ["Of the 20th", "Of the 23rd"]


def test_damaged_entries_stay_on_the_server_and_are_named(laptop: Laptop, school: School) -> None:
    snapshot = school.snapshot()
    write(snapshot, FIRST, title="Sound")
    write(snapshot, SECOND, title="No time", timestamp="1.2e9")
    write(snapshot, THIRD, title="No contents", data=None, filesize="5")
    shutil.rmtree(write(snapshot, uid_of(4)) / "metadata")
    write(snapshot, uid_of(5), title="Half", data=b"12", filesize="5")
    write(snapshot, uid_of(6), title="Long", tags="x" * 600_000)
    (snapshot / "ab" / "AB000000-0000-4000-8000-000000000000" / "metadata").mkdir(parents=True)

    result = laptop.restore()

    assert laptop.titles() == ["Sound"]
    named = {left.uid: (left.title, left.why) for left in result.left}
    assert len(named) == 6
    assert named[SECOND] == ("No time", "its timestamp is no number that Sugar can read")
    assert named[THIRD] == ("No contents", "its contents are missing")
    assert named[uid_of(5)] == ("Half", "its contents are not whole")
    assert "too long" in named[uid_of(6)][1]
    assert not laptop.staging.exists()


def test_links_and_pipes_neither_come_nor_lead_anywhere(laptop: Laptop, school: School, tmp_path: Path) -> None:
    snapshot = school.snapshot()
    entry = write(snapshot, FIRST, title="Hostile")
    os.mkfifo(entry / "metadata" / "pipe")
    (entry / "metadata" / "link").symlink_to("/etc/passwd")
    (entry / "metadata" / "up").symlink_to("../../..")
    (entry / "deep" / "er").mkdir(parents=True)
    (entry / "metadata" / "deep").mkdir()
    (entry / "metadata" / ".half").write_text("half")
    (entry / "metadata" / "a\nb\\#012 é").write_text("odd")
    linked = write(snapshot, SECOND, title="Linked data", data=None, filesize="5")
    (linked / "data").symlink_to("/etc/passwd")
    (snapshot / "zz").symlink_to("/etc")

    result = laptop.restore()

    assert result.restored == 1
    assert [left.uid for left in result.left] == [SECOND]
    kinds = {kind for kind, _ in look(laptop.journal).values()}
    assert kinds == {"file", "directory"}
    assert (laptop.journal / FIRST[:2] / FIRST / "metadata" / "a\nb\\#012 é").read_text() == "odd"
    assert not (laptop.journal / FIRST[:2] / FIRST / "metadata" / ".half").exists()


def test_a_link_in_todays_journal_leads_nothing_out_of_it(laptop: Laptop, school: School, tmp_path: Path) -> None:
    snapshot = school.snapshot()
    write(snapshot, FIRST, title="Back")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (laptop.journal / FIRST[:2]).symlink_to(elsewhere)

    laptop.restore()

    assert not list(elsewhere.iterdir())
    assert laptop.titles() == ["Back"]
    assert not (laptop.journal / FIRST[:2]).is_symlink()


def test_no_room_says_how_many_fit_and_touches_nothing(
    laptop: Laptop, school: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = school.snapshot()
    write(snapshot, FIRST, title="Old and big", data=b"x" * 900_000, when=1_600_000_000)
    write(snapshot, SECOND, title="New", when=1_700_000_000)
    before = look(laptop.journal)
    real = os.statvfs(laptop.profile)
    free = (restore_plan.RESERVE + 500_000) // real.f_frsize

    class Disk:
        f_bavail, f_frsize = free, real.f_frsize

    monkeypatch.setattr(os, "statvfs", lambda _path: Disk)

    with pytest.raises(restore.NoRoom) as trouble:
        laptop.restore()
    assert (trouble.value.reason, trouble.value.fits, trouble.value.documents) == ("room", 1, 2)
    assert look(laptop.journal) == before

    result = laptop.restore(fit=True)
    assert laptop.titles() == ["New"]
    assert [left.title for left in result.left] == ["Old and big"]
    assert "no room" in result.left[0].why


def test_a_cancel_leaves_the_journal_as_it_was(laptop: Laptop, school: School) -> None:
    snapshot = school.snapshot()
    for number in range(10):
        write(snapshot, uid_of(number), data=os.urandom(200_000))
    write(laptop.journal, FIRST, title="Today's")
    before = look(laptop.profile)
    cancel = threading.Event()

    def step(step: Step) -> None:
        if step.phase == "check" or step.bytes:
            cancel.set()

    laptop.told.step = step  # type: ignore[method-assign]
    with pytest.raises(Trouble) as trouble:
        laptop.restore(cancel)
    assert trouble.value.reason == "cancelled"
    assert look(laptop.profile) == before


def test_a_broken_connection_goes_on_where_it_stopped(laptop: Laptop, school: School) -> None:
    snapshot = school.snapshot()
    for number in range(10):
        write(snapshot, uid_of(number), data=os.urandom(100_000))
    before = look(laptop.journal)
    school.cut_off_after(400_000)  # less than half of all, each time
    attempts = 0
    while attempts < 12:
        attempts += 1
        try:
            assert laptop.restore().restored == 10
            break
        except Trouble as trouble:
            assert trouble.reason == "network"
            assert look(laptop.journal) == before
    assert 2 < attempts < 12
    assert look(laptop.journal) == look(snapshot)


def test_what_the_server_cannot_read_is_named_and_the_rest_comes(laptop: Laptop, school: School) -> None:
    snapshot = school.snapshot()
    write(snapshot, FIRST, title="Sound")
    unreadable = write(snapshot, SECOND, title="Not all of it") / "data"

    def step(step: Step) -> None:
        if step.phase == "fetch":
            unreadable.unlink(missing_ok=True)

    laptop.told.step = step  # type: ignore[method-assign]
    result = laptop.restore()
    assert laptop.titles() == ["Sound"]
    assert [(left.title, left.why) for left in result.left] == [
        ("Not all of it", "the school server could not read all of it")
    ]


@pytest.mark.parametrize(
    ("part", "title", "why"),
    [
        ("data", "Broken disk", "the school server could not read all of it"),
        (".", "Some documents", "the school server could not read them. Please tell your teacher"),
    ],
)
def test_where_the_servers_disk_decays_all_else_comes(
    laptop: Laptop, school: School, part: str, title: str, why: str
) -> None:
    snapshot = school.snapshot()
    write(snapshot, FIRST, title="Sound")
    broken = write(snapshot, SECOND, title="Broken disk") / part
    broken.chmod(0)
    try:
        result = laptop.restore()
    finally:
        broken.chmod(0o755)
    assert laptop.titles() == ["Sound"]
    assert [(left.title, left.why) for left in result.left] == [(title, why)]


def test_a_newer_snapshot_goes_on_from_what_the_older_left(laptop: Laptop, school: School) -> None:
    old = school.snapshot(STAMP)
    for number in range(10):
        write(old, uid_of(number), data=os.urandom(100_000))
    school.cut_off_after(700_000)
    with pytest.raises(Trouble):
        laptop.restore()
    there = len(list(laptop.staging.glob("*/??/*/data")))
    assert there
    new = school.snapshot(LATER)
    shutil.copytree(old, new, dirs_exist_ok=True)
    shutil.rmtree(new / uid_of(0)[:2])
    write(new, uid_of(1), title="Another", data=b"now", when=1_750_000_000)
    school.cut_off_after(1_000_000 - 100_000)  # less than all of it
    for _ in range(3):
        try:
            laptop.restore()
            break
        except Trouble:
            continue
    assert look(laptop.journal) == look(new)


def test_a_journal_on_another_disk_is_restored_there(laptop: Laptop, school: School, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    snapshot = school.snapshot()
    write(snapshot, FIRST, title="Back")
    card = tmp_path / "card"
    card.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(card)], check=True)
    try:
        (card / "journal").mkdir()
        shutil.rmtree(laptop.journal)
        laptop.journal.symlink_to(card / "journal")
        assert laptop.restore().restored == 1
        assert look(card / "journal") == look(snapshot)
        assert [path.name for path in card.iterdir()] == ["journal"]
    finally:
        subprocess.run(["umount", str(card)], check=True)
