# SPDX-License-Identifier: GPL-3.0-or-later
"""A registration or an act is killed, or the power goes, at each call that changes the disk.

It is then as if it had not begun, or as if it had ended; the next start and the next try need no person.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import crashing
from crashing import Call
from laptops import ANN, EVE, JIM, dsa, message
from power import Disk, Outage
from schoolserver import accounts, acts, audit, btrfs, house, registrar, registry, trees
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from schoolserver.house import House
from schoolserver.local_socket import Message
from schoolserver.policy import Rules
from standing import make_house

Step = Callable[[House], object]

SAMPLE = 3  # power cuts of each case and kind in the default run; `make soak` has all of them
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
# What is being made, under a name that nobody looks at. Whoever makes it the next time begins anew.
HALF_MADE = re.compile(r"(^|/)\.[^/]*new(/|$)")


def registers(each: Message) -> Step:
    return lambda where: registrar.register(each, where)


MARIA = Who("maria", "console")
ANN_IS_THERE = registers(message(ANN, dsa(1), "Ann"))
JIM_IS_THERE = registers(message(JIM, dsa(0)))
JIM_IS_REFLASHED = registers(message(JIM, dsa(2)))


def jim_has_a_new_nick(where: House) -> object:
    return registrar.register(message(JIM, dsa(0), "James"), where)


def jim_has_another_serial(where: House) -> object:
    return registrar.register(message(EVE, dsa(0)), where)


def jim_is_the_same_child(where: House) -> object:
    return acts.approve(where, JIM, None, MARIA)


def jim_is_ann(where: House) -> object:
    return acts.approve(where, JIM, ANN, MARIA)


def jim_is_another_child(where: House) -> object:
    return acts.separate(where, JIM, MARIA)


def jim_is_in_store(where: House) -> object:
    return acts.retire(where, JIM, MARIA)


def jims_laptop_is_anothers(where: House) -> object:
    return acts.hand_on(where, JIM, MARIA)


def jims_laptop_is_gone(where: House) -> object:
    return acts.remove(where, JIM, MARIA)


def jims_first_key_is_gone(where: House) -> None:
    account = accounts.read_all(where.users).accounts[JIM]
    accounts.write(where.users, replace(account, names=(), keys=()))
    house.derive(where)


def a_class_comes_at_once(where: House) -> object:
    return registrar.register_all([message(JIM, dsa(0)), message(EVE, dsa(3))], where, Rules())


@dataclass(frozen=True)
class Case:
    """What is interrupted. Ann's laptop is there already in each case, and must never notice."""

    act: Step
    earlier: tuple[Step, ...] = ()
    half: Step | None = None  # another end that is as good, until it is tried again
    once: bool = False  # once it is done, saying it again would be another one
    often: bool = False  # killed at every call in the default run, not only in `make soak`


CASES = {
    "a first registration": Case(JIM_IS_THERE, often=True),
    "a class that comes at once": Case(a_class_comes_at_once, half=JIM_IS_THERE),
    "a known serial with a new key": Case(JIM_IS_REFLASHED, (JIM_IS_THERE,), often=True),
    "a new nick": Case(jim_has_a_new_nick, (JIM_IS_THERE,), often=True),
    "a known key under another serial": Case(jim_has_another_serial, (JIM_IS_THERE,)),
    "an approval": Case(jim_is_the_same_child, (JIM_IS_THERE, JIM_IS_REFLASHED), often=True),
    "an approval across serials": Case(jim_is_ann, (JIM_IS_THERE,)),
    "an approval taken back": Case(jim_is_another_child, (JIM_IS_THERE, JIM_IS_REFLASHED, jim_is_the_same_child)),
    "a laptop put in store": Case(jim_is_in_store, (JIM_IS_THERE,)),
    "a laptop handed on": Case(
        jims_laptop_is_anothers, (JIM_IS_THERE, JIM_IS_REFLASHED, jim_is_the_same_child), once=True
    ),
    "a laptop removed": Case(
        jims_laptop_is_gone, (JIM_IS_THERE, JIM_IS_REFLASHED, jim_is_the_same_child), half=jims_first_key_is_gone
    ),
}
IN_EACH_CASE = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
IN_EACH_CASE_SOONER_OR_LATER = pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=name, marks=() if case.often else pytest.mark.soak) for name, case in CASES.items()],
)


@pytest.fixture(autouse=True)
def a_reading_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tops belong to it, as on a server where the Journal page is installed."""
    monkeypatch.setattr(trees, "READER", "nobody")


@dataclass(frozen=True)
class Entry:
    """A file or directory: how it stands, and what is in a file, times apart."""

    kind: str  # "file", "directory", "subvolume" or "other"
    mode: int
    owners: tuple[int, int]
    content: str


def entry(path: Path) -> Entry:
    status = path.lstat()
    kind, content = "other", ""
    if stat.S_ISDIR(status.st_mode):
        kind = "subvolume" if btrfs.is_subvolume(path) else "directory"
    elif stat.S_ISREG(status.st_mode):
        kind, content = "file", TIME.sub("<time>", text(path))
    return Entry(kind, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid), content)


def text(path: Path) -> str:
    if path.name != "registry.db":
        return path.read_text(encoding="utf-8", errors="replace")
    try:
        return str(registry.rows(path))
    except Refusal as refusal:
        return str(refusal)


def entries(top: Path) -> dict[str, Entry]:
    """Every file and directory below `top`, but the audit trail, which only ever grows."""
    paths = [path for path in sorted(top.rglob("*")) if path.name != "audit.jsonl"]
    return {str(path.relative_to(top)): entry(path) for path in paths}


def finished(found: dict[str, Entry]) -> dict[str, Entry]:
    return {path: each for path, each in found.items() if not HALF_MADE.search(path)}


def recorded(where: House) -> set[tuple[str, str, str, str]]:
    """What the audit trail tells; what was said twice, because a crash came between, is told twice there."""
    return {(each.who, each.where, each.tree, each.what) for each in audit.read(where.audit)}


def check_that_nobody_else_reads(users: Path) -> None:
    """Only root, the tree's own group and the reading service get into any tree, finished or not."""
    known = accounts.read_all(users).accounts
    reader = pwd.getpwnam(trees.READER).pw_uid
    for tree in (*users.glob("[!.]*"), *users.glob(".new/*")):
        top = entry(tree)
        assert top.owners in {(0, 0), (reader, known[tree.name].uid if tree.name in known else 0)}, tree
        assert top.mode & 0o7 == 0, tree
        assert not top.owners[0] or not top.mode & 0o222, f"{tree}: its reader writes"


@dataclass
class Play:
    """A case on one file system, and how everything stands before and after it where nothing disturbs."""

    case: Case
    top: Path
    before: dict[str, Entry] = field(default_factory=dict)
    after: dict[str, Entry] = field(default_factory=dict)
    half: dict[str, Entry] = field(default_factory=dict)
    recorded: set[tuple[str, str, str, str]] = field(default_factory=set)  # after

    @property
    def house(self) -> House:
        return House(*(self.top / name for name in ("users", "state", "extrausers", "keys")))

    def prepare(self) -> None:
        if self.top.exists():
            shutil.rmtree(self.top)
        self.top.mkdir()
        make_house(self.top)
        for step in (ANN_IS_THERE, *self.case.earlier):
            step(self.house)

    def act(self) -> object:
        return self.case.act(self.house)

    def rehearse(self) -> None:
        """Carry it out undisturbed, and note how everything stands then."""
        if self.case.half:
            self.prepare()
            self.case.half(self.house)
            self.half = entries(self.top)
        self.prepare()
        self.before = entries(self.top)
        self.act()
        self.after, self.recorded = entries(self.top), recorded(self.house)
        assert self.after != self.before

    def check_at_once(self, below: str = "") -> None:
        """Nobody but the owner can read; and below `below` only what the act writes has changed, each file whole."""
        now = entries(self.top)
        for path in self.before.keys() | self.after.keys():
            was, will = self.before.get(path), self.after.get(path)
            if path.startswith(below) and (was == will or "file" in {each.kind for each in (was, will) if each}):
                assert now.get(path) in (was, will), path
        assert accounts.read_all(self.house.users).damaged == {}
        assert recorded(self.house) <= self.recorded
        check_that_nobody_else_reads(self.house.users)

    def check_repair(self) -> None:
        """The next start leads to before or after, the next try to after, and nothing half made is left."""
        house.derive(self.house)
        now = finished(entries(self.top))
        assert now in (self.before, self.half, self.after)
        if now == self.after:
            assert recorded(self.house) == self.recorded
        if now != self.after or not self.case.once:
            self.act()
            now = entries(self.top)
        assert now == self.after
        assert recorded(self.house) == self.recorded


@pytest.fixture
def play(case: Case, library: Path) -> Play:
    """The case on btrfs, rehearsed."""
    if reason := crashing.missing():
        pytest.skip(reason)
    play = Play(case, library / "library")
    play.rehearse()
    play.prepare()
    return play


@IN_EACH_CASE_SOONER_OR_LATER
def test_killed_at_any_call_the_next_start_and_the_next_try_make_it_whole(play: Play) -> None:
    def check() -> None:
        play.check_at_once()
        play.check_repair()

    points = crashing.calls(play.act, play.top)
    crashing.crash_at_each(points, play.prepare, play.act, check)
    print(f"counted: {len(points)} kills")


@pytest.mark.parametrize("case", [CASES["a first registration"]], ids=["a first registration"])
def test_a_laptop_that_comes_between_the_crash_and_the_next_try_gets_another_uid(play: Play) -> None:
    def check() -> None:
        house.derive(play.house)
        registrar.register(message(EVE, dsa(3)), play.house)
        play.act()
        known = accounts.read_all(play.house.users).accounts
        assert sorted(known) == [JIM, ANN, EVE]
        assert {account.uid for account in known.values()} == {20000, 20001, 20002}
        assert finished(entries(play.top)) == entries(play.top)
        check_that_nobody_else_reads(play.house.users)

    points = [call for call in crashing.calls(play.act, play.top) if call.name == "rename"]
    crashing.crash_at_each(points, play.prepare, play.act, check)


# From here on the power goes.


@dataclass(frozen=True)
class Dark:
    """A case on a disk that forgets what was not flushed."""

    play: Play
    outage: Outage

    def points(self) -> list[Call]:
        return self.outage.points(self.play.top)

    def check_at_once(self) -> None:
        # What is derived is not flushed (durable.py): it may be empty then, until the next start. The truth may not.
        self.play.check_at_once("users/" if self.outage.names_written else "")

    def check(self) -> None:
        self.check_at_once()
        self.play.check_repair()


@pytest.fixture
def dark(case: Case, disk: Disk, tmp_path: Path) -> Dark:
    """The case on such a disk, rehearsed."""
    if reason := crashing.missing():
        pytest.skip(reason)
    play = Play(case, disk.root / "library")
    outage = Outage(disk, tmp_path / "copy", play.act)
    outage.begin(play.prepare)
    play.rehearse()
    outage.begin_again()
    return Dark(play, outage)


@IN_EACH_CASE
def test_after_a_power_cut_the_next_start_and_the_next_try_make_it_whole(dark: Dark) -> None:
    dark.outage.cut_at_each(crashing.spread(dark.points(), SAMPLE), dark.check)


@pytest.mark.soak
@IN_EACH_CASE
def test_after_a_power_cut_at_any_call_it_is_the_same(dark: Dark) -> None:
    points = dark.points()
    dark.outage.cut_at_each(points, dark.check)
    print(f"counted: {2 * len(points)} power cuts")


@IN_EACH_CASE
@pytest.mark.parametrize("names_written", [False, True], ids=["at once", "after a commit"])
def test_once_it_was_answered_a_power_cut_loses_nothing(dark: Dark, names_written: bool) -> None:
    dark.outage.names_written = names_written
    dark.play.act()
    dark.outage.cut_power()
    dark.check_at_once()
    house.derive(dark.play.house)
    assert finished(entries(dark.play.top)) == dark.play.after
    assert recorded(dark.play.house) == dark.play.recorded


# What the two helpers promise.


def test_a_disk_without_power_forgets_what_was_not_flushed_and_nothing_else(disk: Disk) -> None:
    disk.make()
    with (disk.root / "flushed").open("w") as file:
        file.write("here")
        file.flush()
        os.fsync(file.fileno())
    (disk.root / "not flushed").write_text("gone")
    disk.cut()
    assert list(disk.root.iterdir()) == []
    disk.start()
    assert [(path.name, path.read_text()) for path in disk.root.iterdir()] == [("flushed", "here")]


def test_a_disk_that_was_shut_down_forgets_nothing_and_comes_back_as_it_was_copied(disk: Disk, tmp_path: Path) -> None:
    disk.make()
    (disk.root / "file").write_text("not flushed")
    disk.stop()
    disk.keep(tmp_path / "copy")
    disk.start()
    assert (disk.root / "file").read_text() == "not flushed"
    (disk.root / "file").unlink()
    disk.stop()
    disk.bring_back(tmp_path / "copy")
    assert (disk.root / "file").read_text() == "not flushed"


def test_a_commit_writes_names_and_leaves_contents_behind(disk: Disk) -> None:
    disk.make()
    (disk.root / "file").write_text("gone")
    disk.commit()
    disk.cut()
    disk.start()
    assert (disk.root / "file").read_text() == ""


def test_a_run_is_killed_before_each_call_that_changes_the_disk(tmp_path: Path) -> None:
    if reason := crashing.missing():
        pytest.skip(reason)
    place = tmp_path / "place"

    def act() -> None:
        (place / "directory").mkdir()
        (place / "nothing").unlink(missing_ok=True)
        (place / "file").write_text("text")
        (place / "file").rename(place / "renamed")

    def prepare() -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()

    left: list[list[str]] = []
    prepare()
    points = crashing.calls(act, place)
    assert [call.name for call in points] == ["mkdir", "openat", "write", "rename"]
    crashing.crash_at_each(points, prepare, act, lambda: left.append(sorted(os.listdir(place))))
    assert left == [[], ["directory"], ["directory", "file"], ["directory", "file"]]


def test_a_run_that_goes_another_way_is_no_crash(tmp_path: Path) -> None:
    if reason := crashing.missing():
        pytest.skip(reason)
    (point,) = crashing.calls((tmp_path / "one").mkdir, tmp_path)
    with pytest.raises(AssertionError, match="the run did not come to"):
        crashing.kill_before(point, lambda: None)
    with pytest.raises(AssertionError, match=r"the run failed undisturbed(.|\n)*FileExistsError"):
        crashing.calls((tmp_path / "one").mkdir, tmp_path)


def test_a_sample_has_the_first_and_the_last() -> None:
    points = [Call("write", "/file", turn, "") for turn in range(1, 101)]
    assert [call.turn for call in crashing.spread(points, 4)] == [1, 34, 67, 100]
    assert crashing.spread(points[:3], 4) == points[:3]
