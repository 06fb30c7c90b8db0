# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import school
from schoolserver import pins, stamps, status
from schoolserver.decay import Decayed
from schoolserver.status import Disk, Holder, Laptop, Late, Line, Loss, Rotation, Status, Unreadable

WELL = Status(Disk(40, 90, None), trees=3, laptops=2, last_run="2026-11-24T101500Z", late_days=7)


def abouts(found: Status) -> list[tuple[str, str]]:
    return [(line.about, line.tree) for line in status.needs_person(found)]


def laptop(number: int, last: int | None, registered: int = 0) -> Laptop:
    run = None if last is None else school.day(last).strftime(stamps.FORM)
    return Laptop(f"SHC{number:08}", "Jim", "4B", stamps.written(school.day(registered)), run)


def test_where_all_is_well_nothing_needs_a_person() -> None:
    assert status.needs_person(WELL) == []
    assert [line.about for line in status.facts(WELL)] == ["laptops", "last run", "disk", "verified"]


def test_late_is_who_has_not_backed_up_for_so_many_days_the_longest_first() -> None:
    known = [laptop(1, 10), laptop(2, 3), laptop(3, None), laptop(4, None, registered=6), laptop(5, 4)]
    late = status.late(known, school.day(10), 7)
    assert [(one.tree[-1], one.days) for one in late] == [("3", 10), ("2", 7)]
    assert status.late([Laptop("SHC", "", "", "some day", None)], school.day(10), 7) == []


@given(st.lists(st.one_of(st.none(), st.integers(0, 60)), max_size=30), st.integers(0, 90), st.integers(1, 60))
def test_more_days_never_make_more_laptops_late(runs: list[int | None], today: int, days: int) -> None:
    known = [laptop(number, last) for number, last in enumerate(runs)]
    late = {one.tree for one in status.late(known, school.day(today), days)}
    assert {one.tree for one in status.late(known, school.day(today), days + 1)} <= late
    assert late == {one.tree for number, one in enumerate(known) if today - (runs[number] or 0) >= days}


@pytest.mark.parametrize(
    ("late", "laptops", "lines"),
    [(1, 1, 1), (2, 2, 1), (5, 6, 5), (20, 300, 20), (100, 300, 21), (290, 300, 1), (300, 300, 1)],
)
def test_a_holiday_is_one_line_and_a_few_are_named(late: int, laptops: int, lines: int) -> None:
    found = replace(WELL, laptops=laptops, late=[Late(f"SHC{n:08}", "Jim", "", None, 8) for n in range(late)])
    said = [line for line in status.needs_person(found) if line.about == "late"]
    assert len(said) == lines
    assert any("a holiday?" in line.said for line in said) == (late == laptops > 1 or (late, laptops) == (290, 300))
    assert ("and 80 more" in said[-1].said) == (late == 100)


def test_a_loss_comes_from_the_pins_of_that_kind_alone() -> None:
    pinned = {
        "2026-11-23T101500Z": pins.Pin(frozenset({pins.BULK_LOSS}), 18, "2026-11-24T101500Z"),
        "2026-11-24T101500Z": pins.Pin(frozenset({pins.KEEPSAKES}), 60, "2026-11-25T101500Z"),
    }
    assert status.losses("SHC", pinned) == [Loss("SHC", "2026-11-23T101500Z", 18, "2026-11-24T101500Z")]


def test_an_image_that_gave_its_room_back_is_told() -> None:
    lines = status.needs_person(replace(WELL, disk=Disk(40, 90, None, lacking=3_400_000)))
    assert [one.said for one in lines] == ["3.4 MB of the library's image are no longer set aside for it: run site.yml"]


def test_a_full_disk_comes_first_and_says_who_holds_what() -> None:
    holders = [
        Holder("SHC00000001", "Jim", 12_345_000_000, 3, 1, 300_000_000),
        Holder("SHC00000002", "", 1 << 62, 0, 0),
    ]
    loss = Loss("SHC00000001", "2026-11-23T101500Z", 18, "2026-11-24T101500Z")
    full = replace(WELL, disk=Disk(93, 90, 0.0), holders=holders, losses=[loss])
    lines = status.needs_person(full)
    assert lines[0] == Line("disk", "", "93 % full: above 90 % nothing new is taken")
    assert lines[2] == Line("", "SHC00000001", "Jim: 12.3 GB, 3 keepsakes, 1 pinned snapshots with 0.3 GB of their own")
    assert lines[3].said.startswith("more than can be counted")
    assert lines[-1].about == "loss"


@pytest.mark.parametrize(("weeks", "told"), [(None, False), (3.2, True), (7.9, True), (8.0, False), (1000.0, False)])
def test_a_disk_that_will_soon_be_full_needs_a_person_in_time(weeks: float | None, told: bool) -> None:
    assert bool(status.needs_person(replace(WELL, disk=Disk(70, 90, weeks)))) == told


def test_what_a_person_can_do_about_decay_depends_on_where_it_is() -> None:
    tail = "01/01abcdef-0000-4000-8000-000000000001/data"
    decayed = [
        Decayed(f"A/datastore/2026-11-24T101500Z/{tail}", "it is gone"),
        Decayed(f"A/datastore-current/{tail}", "it is gone"),
    ]
    old, new = status.needs_person(replace(WELL, decayed=decayed))
    assert old.said.endswith("; other versions: xs restore A, or the laptop has it still")
    assert new.said.endswith("; remove the file, and the laptop sends it again")


def test_what_is_worse_comes_before() -> None:
    found = replace(
        WELL,
        unreadable=[Unreadable("A", "datastore-current/x", "2026-11-24T101500Z")],
        decayed=[Decayed("A/datastore/2026-11-24T101500Z/x", "it is gone"), Decayed("", "3 blocks")],
        damaged=["B/pins.json is damaged"],
        rotation=Rotation("2026-11-24T023000Z", 1, "a backup was under way", {"C": "a bad sector"}),
        losses=[Loss("D", "2026-11-23T101500Z", 18, "2026-11-24T101500Z")],
        late=[Late("E", "Eve", "4B", None, 9)],
        incomplete=[status.Incomplete("F", "2026-11-20T101500Z", 4)],
    )
    assert abouts(found) == [
        ("decayed", "A"), ("decayed", ""),
        ("disk", "A"), ("damaged", ""), ("rotation", ""), ("rotation", "C"), ("loss", "D"), ("late", "E"),
        ("incomplete", "F"),
    ]  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["last", "ended", "removed", "stopped", "failed", "x"]), inner, max_size=5)
    ),
)


@given(JSON)
def test_whatever_rotation_wrote_is_read(said: object) -> None:
    found = status.rotation_of(said)
    status.needs_person(replace(WELL, rotation=found))
    status.facts(replace(WELL, rotation=found))


def test_of_the_last_rotation_is_told_what_stopped_it() -> None:
    last = {"ended": "2026-11-24T023000Z", "removed": 5, "stopped": "the clock leapt", "failed": {"A": "a bad sector"}}
    assert status.rotation_of({"last": last}) == Rotation(
        "2026-11-24T023000Z", 5, "the clock leapt", {"A": "a bad sector"}
    )
    assert status.rotation_of({"last": {"stopped": False, "removed": ["x"]}}) == Rotation("", 1, "", {})
    assert status.rotation_of([]) is None
