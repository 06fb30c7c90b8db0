# SPDX-License-Identifier: GPL-3.0-or-later
"""The promise of docs/archive.md, whatever children, laptops, crashes, people and rotation do, on real file systems.

The newest version of every document ever seen in a completed run can be restored, byte for byte, of each tree and of
each learner over all trees; until a person has it removed for ever.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import crashing
import school
from laptops import ANN, EVE, JIM, dsa, message
from promises import CHANGES, Contents, by_document
from schoolserver import (
    accounts,
    acts,
    datastore,
    house,
    keepsake_removal,
    keepsakes,
    pinning,
    pins,
    registrar,
    restore,
    rotation,
    snapshot,
)  # fmt: skip
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from schoolserver.learners import Learners
from schoolserver.rotation_plan import Policy, Space
from standing import make_house

MARIA = Who("maria", "console")
START = datetime(2007, 1, 1, 10, 15, tzinfo=UTC)  # long before the real clock, by which the day's snapshots are counted
# A few documents, or so many that their snapshot is pinned in their stead; they overlap in every way.
RANGES = st.sampled_from(
    [range(0), range(1), range(3), range(2, 5), range(4), range(12), range(1, 60), range(4, 62), range(62)]
)
DAYS = st.integers(1, 60)
POLICIES = st.sampled_from([Policy(1, 1, 1), Policy(2, 20, 60), Policy()])
USED = st.sampled_from([0, 85, 100])  # percent of the disk
SERIALS = st.sampled_from([JIM, ANN, EVE])
# Of the calls that change something, the one at which a crash comes: of a snapshot, and of a removal.
CALLS, FEW_CALLS = st.integers(0, 90), st.integers(0, 12)

HAPPENS = (
    "runs", "crashes in a snapshot", "crashes in a removal", "snapshots removed", "approvals", "separations",
    "runs with a snapshot pinned for what left", "keepsakes removed", "documents restored",
)  # fmt: skip


@dataclass
class Laptop:
    """One in a child's hands: its present key, and what is in its Journal as {uid: words}."""

    serial: str
    key: int
    journal: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """The newest version of a document that a tree had in a completed run, and the last snapshot with it."""

    stamp: str
    copy: Contents


class Archive(RuleBasedStateMachine):
    """Three laptops and one school server, which stands on the file system of the directory `library`."""

    def __init__(self, library: Path, happened: Counter[str]) -> None:
        super().__init__()
        self.top = library / os.urandom(8).hex()
        self.top.mkdir()
        self.here = make_house(self.top)
        self.happened = happened
        self.now, self.words, self.keys = START, 0, 0
        self.laptops: dict[str, Laptop] = {}
        self.seen: dict[str, dict[str, Seen]] = {}  # by tree and uid

    def teardown(self) -> None:
        try:
            self._check_what_a_technician_gets()
        finally:
            school.clear(self.top)

    # What children do.

    @initialize()
    def laptops_come(self) -> None:
        for serial in (JIM, ANN, EVE):
            self.laptops[serial] = Laptop(serial, self._registers(serial))

    @rule(serial=SERIALS, data=st.data())
    def documents_are_fetched_back(self, serial: str, data: st.DataObject) -> None:
        there = self._expected(self._trees_of_learner(serial))
        for uid in data.draw(st.lists(st.sampled_from(sorted(there)), max_size=3)) if there else []:
            self.laptops[serial].journal[uid] = int(there[uid]["metadata/words"])

    @rule(serial=SERIALS)
    def the_journal_is_emptied(self, serial: str) -> None:
        self.laptops[serial].journal.clear()

    @rule(serial=SERIALS)
    def the_laptop_is_reflashed(self, serial: str) -> None:
        self.laptops[serial] = Laptop(serial, self._registers(serial))

    # What the server does.

    @rule(serial=SERIALS, written=RANGES, deleted=RANGES, days=DAYS)
    def a_run_completes(self, serial: str, written: range, deleted: range, days: int) -> None:
        self._works(serial, written, deleted)
        tree = self._pushes(serial, days)
        assert snapshot.take(tree, self.now, self.catalog)
        self._was_seen(tree)

    @rule(serial=SERIALS, written=RANGES, deleted=RANGES, days=DAYS, call=CALLS)
    def the_server_crashes_in_the_snapshot(
        self, serial: str, written: range, deleted: range, days: int, call: int
    ) -> None:
        self._works(serial, written, deleted)
        tree = self._pushes(serial, days)
        self._crashes(call, lambda: snapshot.take(tree, self.now, self.catalog), "in a snapshot")
        self._starts()
        self._was_seen(tree)

    @rule(serial=SERIALS, written=RANGES, deleted=RANGES)
    def a_run_breaks_off(self, serial: str, written: range, deleted: range) -> None:
        self._works(serial, written, deleted)
        self._sends(serial)

    @rule(policy=POLICIES, used=USED)
    def old_snapshots_are_removed(self, policy: Policy, used: int) -> None:
        for outcome in self._rotates(policy, used):
            assert outcome.error is None, outcome.tree
            self.happened["snapshots removed"] += len(outcome.removed)

    @rule(policy=POLICIES, used=USED, call=FEW_CALLS)
    def the_server_crashes_in_a_removal(self, policy: Policy, used: int, call: int) -> None:
        self._crashes(call, lambda: self._rotates(policy, used), "in a removal")
        self._starts()

    # What people do.

    @rule(serial=SERIALS)
    def it_is_the_same_child_after_a_reflash(self, serial: str) -> None:
        self._acts(lambda: acts.approve(self.here, serial, None, MARIA), "approvals")

    @rule(serial=SERIALS, learner=SERIALS)
    def it_is_the_same_child_with_another_laptop(self, serial: str, learner: str) -> None:
        self._acts(lambda: acts.approve(self.here, serial, learner, MARIA), "approvals")

    @rule(serial=SERIALS)
    def an_approval_is_taken_back(self, serial: str) -> None:
        self._acts(lambda: acts.separate(self.here, serial, MARIA), "separations")

    @precondition(lambda self: any(datastore.snapshots(tree) for tree in self.trees))
    @rule(data=st.data())
    def a_person_pins_a_snapshot_or_lets_it_go(self, data: st.DataObject) -> None:
        tree = data.draw(st.sampled_from([tree for tree in self.trees if datastore.snapshots(tree)]))
        stamp = data.draw(st.sampled_from(datastore.snapshots(tree)))
        pin = pins.read(tree).get(stamp)
        if pin is None:
            pinning.pin(self.here, tree.name, stamp, pinning.PERSON, MARIA)
        elif pin.why == {pinning.PERSON}:  # to let go of another would be to let go of last copies
            pinning.unpin(self.here, tree.name, stamp, MARIA)

    @precondition(lambda self: any(list(keepsakes.every(tree)) for tree in self.trees))
    @rule(data=st.data())
    def a_person_removes_a_keepsake_for_ever(self, data: st.DataObject) -> None:
        tree = data.draw(st.sampled_from([tree for tree in self.trees if list(keepsakes.every(tree))]))
        uid, _ = data.draw(st.sampled_from(list(keepsakes.every(tree))))
        keepsake_removal.remove(self.here, tree.name, uid, None, MARIA, catalog_file=self.catalog)
        self.seen[tree.name].pop(uid, None)  # it may have been removed before, while it was back in the Journal
        self.happened["keepsakes removed"] += 1

    # What must hold.

    @invariant()
    def the_newest_version_of_every_document_can_be_restored(self) -> None:
        for tree in self.trees:
            self._check([tree.name])
        for trees in self._learners().all().values():
            if len(trees) > 1:
                self._check(trees)

    def _check(self, trees: list[str]) -> None:
        wanted = self._expected(trees)
        for when in (restore.BEST, restore.LATEST):
            found = {copy.uid: copy for copy in restore.everything(self.here.users, trees, when, gone=True)}
            for uid, copy in wanted.items():
                assert uid in found, f"{uid} of {trees} is lost ({when})"
                assert self._read(found[uid]) == copy, f"{uid} of {trees} is not as it was last ({when})"

    def _check_what_a_technician_gets(self) -> None:
        for number, trees in enumerate(self._learners().all().values()):
            copies = restore.everything(self.here.users, trees, restore.BEST, gone=True)
            target = self.top / f"restored-{number}"
            assert restore.to_directory(self.here.users, copies, target, lambda *_: None) == []
            restored = by_document(school.contents(target))
            for uid, copy in self._expected(trees).items():
                assert restored[uid] == copy, uid
                self.happened["documents restored"] += 1

    # How it is done.

    @property
    def catalog(self) -> Path:
        return self.here.state / "catalog.db"

    @property
    def trees(self) -> list[Path]:
        return datastore.trees(self.here.users)

    def _learners(self) -> Learners:
        return Learners(house.read(self.here).accounts)

    def _trees_of_learner(self, serial: str) -> list[str]:
        return self._learners().trees_of(self._account(serial).tree)

    def _account(self, serial: str) -> accounts.Account:
        blob = dsa(self.laptops[serial].key)
        known = house.read(self.here).accounts.values()
        return next(account for account in known if any(key.blob == blob for key in account.keys))

    def _expected(self, trees: list[str]) -> dict[str, Contents]:
        """The newest version of each document of the learner with these trees: as it was where it was seen last."""
        newest: dict[str, Seen] = {}
        for tree in trees:
            for uid, seen in self.seen.get(tree, {}).items():
                newest[uid] = max(seen, newest.get(uid, seen), key=lambda one: one.stamp)
        return {uid: seen.copy for uid, seen in newest.items()}

    def _read(self, copy: restore.Copy) -> Contents:
        kept, taken = Path("keepsakes", copy.uid, copy.stamp), Path("datastore", copy.stamp, copy.uid[:2], copy.uid)
        return school.contents(self.here.users / copy.tree / (kept if copy.keepsake else taken))

    def _registers(self, serial: str) -> int:
        self.keys += 1
        registrar.register(message(serial, dsa(self.keys)), self.here)
        return self.keys

    def _works(self, serial: str, written: range, deleted: range) -> None:
        """Write and delete documents in the laptop's Journal, by their numbers."""
        self.words += 1
        journal, own = self.laptops[serial].journal, 1000 * int(serial[-1])
        for number in written:
            journal[school.uid(own + number)] = self.words
        for number in deleted:
            journal.pop(school.uid(own + number), None)

    def _sends(self, serial: str) -> Path:
        """Make incoming what the laptop's Journal is, as rsync does."""
        account = self._account(serial)
        tree = self.here.users / self._learners().written_by(account)
        incoming, journal = tree / "datastore-current", self.laptops[serial].journal
        (incoming / "version").write_text("6")
        there = datastore.entries(incoming)
        for uid in there.keys() - journal.keys():
            school.remove_document(incoming, uid)
        for uid, words in journal.items():
            said = incoming / uid[:2] / uid / "metadata" / "words"
            if not said.exists() or said.read_text() != str(words):
                school.write_document(incoming, uid, b"words %d" % words, 1_790_000_000 + words, words=str(words))
        return tree

    def _pushes(self, serial: str, days: int) -> Path:
        """Complete a run, and let `days` pass."""
        self.now += timedelta(days=days)
        tree = self._sends(serial)
        school.end_run(tree)
        return tree

    def _was_seen(self, tree: Path) -> None:
        stamp = datastore.snapshots(tree)[-1]
        sent = by_document(school.contents(tree / "datastore-current"))
        assert by_document(school.contents(tree / "datastore" / stamp)) == sent
        for uid, copy in sent.items():
            self.seen.setdefault(tree.name, {})[uid] = Seen(stamp, copy)
        self.happened["runs"] += 1
        pinned = [pin for pin in pins.read(tree).values() if pins.KEEPSAKES in pin.why]
        self.happened["runs with a snapshot pinned for what left"] += bool(pinned)

    def _crashes(self, call: int, act: Callable[[], object], where: str) -> None:
        if crashing.stopped_before(call, act, CHANGES) is None:
            self.happened[f"crashes {where}"] += 1

    def _starts(self) -> None:
        house.derive(self.here)
        snapshot.sweep(self.here.users, self.now + timedelta(seconds=1), self.catalog)

    def _rotates(self, policy: Policy, used: int) -> list[rotation.Outcome]:
        """Rotate a day later; the disk is `used` percent full."""
        self.now += timedelta(days=1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rotation, "uptime", self.now.timestamp)  # the machine is never off
            return list(rotation.rotate(self.here, policy, Space(used), self.now))

    def _acts(self, act: Callable[[], acts.Change], what: str) -> None:
        try:
            self.happened[what] += act().changed
        except Refusal:
            return


def play(library: Path, examples: int, steps: int) -> Counter[str]:
    happened: Counter[str] = Counter()

    class Here(Archive):
        def __init__(self) -> None:
            super().__init__(library, happened)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # on a real disk, shrinking takes minutes
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    print(f"counted: {', '.join(f'{number} {what}' for what, number in sorted(happened.items()))}")
    return happened


def test_no_last_version_is_ever_lost(any_library: Path) -> None:
    assert play(any_library, 15, 25)["documents restored"] > 0


@pytest.mark.soak
def test_no_last_version_is_lost_in_many_long_stories(any_library: Path) -> None:
    happened = play(any_library, 150, 60)
    assert min(happened[what] for what in HAPPENS) > 0, happened
