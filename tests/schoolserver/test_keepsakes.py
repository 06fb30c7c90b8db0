# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import school
from schoolserver import copying, datastore, entries, keepsakes, pins
from schoolserver.keepsakes import decide, left
from schoolserver.pins import BULK_LOSS, KEEPSAKES

STAMP, NEXT = "2026-11-23T101500Z", "2026-11-24T101500Z"
ONE = school.uid(1)
JOURNALS = st.dictionaries(st.integers(0, 200).map(school.uid), st.booleans())


def no_sync(_directory: Path) -> None:
    """Nothing is cut off in these tests."""


def journal(documents: int) -> dict[str, bool]:
    return {school.uid(number): True for number in range(documents)}


def test_nothing_left_needs_nothing() -> None:
    assert decide(journal(5), journal(6)) == keepsakes.Decision(frozenset(), frozenset(), 0)


def test_a_document_that_left_is_set_aside() -> None:
    assert decide(journal(30), journal(29)).keepsakes == {school.uid(29)}


def test_a_document_whose_data_went_counts_as_left() -> None:
    assert left({ONE: True}, {ONE: False}) == {ONE}
    assert left({ONE: False}, {ONE: True}) == frozenset()


def test_more_than_fifty_pin_the_snapshot_instead() -> None:
    assert decide(journal(200), journal(150)).keepsakes == {school.uid(number) for number in range(150, 200)}
    assert decide(journal(200), journal(149)) == keepsakes.Decision(frozenset(), frozenset({KEEPSAKES}), 51)


def test_half_the_journal_gone_is_a_bulk_loss_from_ten_documents_on() -> None:
    assert decide(journal(10), journal(5)).pin == frozenset()
    assert decide(journal(10), journal(4)).pin == {BULK_LOSS}
    assert decide(journal(9), {}).pin == frozenset()
    assert decide(journal(1000), {}).pin == {BULK_LOSS, KEEPSAKES}


@given(JOURNALS, JOURNALS)
def test_whatever_left_is_set_aside_or_in_a_pinned_snapshot(before: dict[str, bool], now: dict[str, bool]) -> None:
    decision = decide(before, now)
    gone = {uid for uid in before if uid not in now}
    assert gone <= decision.keepsakes or KEEPSAKES in decision.pin
    assert decision.keepsakes <= set(before)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "datastore" / STAMP).mkdir(parents=True)
    return tmp_path


def test_a_keepsake_holds_the_same_bytes_and_times_and_is_made_once(tree: Path) -> None:
    snapshot = tree / "datastore" / STAMP
    school.write_document(snapshot, ONE, b"x" * 3_000_000, preview=school.PNG)
    for _ in range(2):
        keepsakes.set_aside(tree, STAMP, [ONE], no_sync)
        assert list(keepsakes.every(tree)) == [(ONE, STAMP)]
    kept = tree / "keepsakes" / ONE / STAMP
    assert school.contents(kept) == school.contents(snapshot / "01" / ONE)
    with datastore.entry_in(snapshot, ONE) as source, datastore.entry_at(kept) as copy:
        assert entries.fingerprint(source) == entries.fingerprint(copy)


def test_a_keepsake_holds_no_links_and_nothing_of_others(tree: Path) -> None:
    snapshot, secret = tree / "datastore" / STAMP, tree / "secret"
    secret.write_text("secret")
    school.write_document(snapshot, ONE, data=None)
    (snapshot / "01" / ONE / "data").symlink_to(secret)
    (snapshot / "01" / ONE / "metadata" / "note").symlink_to(secret)
    os.mkfifo(snapshot / "01" / ONE / "metadata" / "pipe")
    keepsakes.set_aside(tree, STAMP, [ONE], no_sync)
    kept = tree / "keepsakes" / ONE / STAMP
    assert b"secret" not in school.contents(kept).values()
    assert all(path.is_dir() or (path.is_file() and not path.is_symlink()) for path in kept.rglob("*"))
    assert not (kept / "data").exists()


def test_an_interrupted_keepsake_is_never_seen_and_is_made_again(tree: Path) -> None:
    school.write_document(tree / "datastore" / STAMP, ONE)

    def cut(_directory: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keepsakes.set_aside(tree, STAMP, [ONE], cut)
    assert list(keepsakes.every(tree)) == []
    keepsakes.remove_leftovers(tree)
    assert os.listdir(tree / "keepsakes") == []
    keepsakes.set_aside(tree, STAMP, [ONE], no_sync)
    assert list(keepsakes.every(tree)) == [(ONE, STAMP)]


def after_run(tree: Path, before: int, now: int) -> pins.Pins:
    for stamp, documents in ((STAMP, before), (NEXT, now)):
        (tree / "datastore" / stamp).mkdir(parents=True, exist_ok=True)
        for number in range(documents):
            school.write_document(tree / "datastore" / stamp, school.uid(number))
    keepsakes.after_run(tree, STAMP, tree / "datastore" / NEXT, NEXT, no_sync)
    return pins.read(tree)


def test_a_disk_that_fails_while_setting_aside_gets_the_snapshot_pinned(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(copying, "copy", full)
    assert after_run(tree, 3, 2)[STAMP].why == {KEEPSAKES}
    assert "No space left" in capsys.readouterr().err


def test_a_bulk_loss_stays_pinned_until_the_documents_are_back(tree: Path) -> None:
    assert after_run(tree, 20, 3)[STAMP] == pins.Pin(frozenset({BULK_LOSS}), 17, NEXT)
    later = tree / "datastore" / "2026-11-25T101500Z"
    for number in range(10):
        school.write_document(later, school.uid(number))
    keepsakes.after_run(tree, NEXT, later, later.name, no_sync)
    assert pins.read(tree)[STAMP].why == {BULK_LOSS}  # the new one has no name yet
    keepsakes.release_returned(tree, later.name)
    assert pins.read(tree) == {}


def test_a_snapshot_pinned_for_its_documents_stays_until_each_is_back_or_set_aside(tree: Path) -> None:
    assert after_run(tree, 200, 140)[STAMP].why == {KEEPSAKES}
    later = tree / "datastore" / "2026-11-25T101500Z"
    for number in range(199):
        school.write_document(later, school.uid(number))
    keepsakes.after_run(tree, NEXT, later, later.name, no_sync)
    keepsakes.release_returned(tree, later.name)
    assert pins.read(tree)[STAMP].why == {KEEPSAKES}
    last = tree / "datastore" / "2026-11-26T101500Z"
    for number in range(200):
        school.write_document(last, school.uid(number))
    keepsakes.after_run(tree, later.name, last, last.name, no_sync)
    keepsakes.release_returned(tree, last.name)
    assert pins.read(tree) == {}


def test_damaged_pins_stop_no_backup_and_let_nothing_go(tree: Path) -> None:
    (tree / pins.FILE).write_text("{")
    assert after_run(tree, 3, 3)[STAMP].why == {pins.DAMAGED}


def test_an_entry_with_too_many_properties_leaves_nothing_behind_but_a_pinned_snapshot(tree: Path) -> None:
    school.write_document(tree / "datastore" / STAMP, ONE)
    for number in range(entries.MOST_PROPERTIES):
        (tree / "datastore" / STAMP / "01" / ONE / "metadata" / f"x{number}").touch()
    (tree / "datastore" / NEXT).mkdir()
    keepsakes.after_run(tree, STAMP, tree / "datastore" / NEXT, NEXT, no_sync)
    assert list(keepsakes.every(tree)) == []
    assert pins.read(tree)[STAMP].why == {KEEPSAKES}


def test_a_journal_that_no_laptop_can_have_is_pinned_and_the_next_ones_go_on(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datastore, "MOST_DOCUMENTS", 20)
    assert after_run(tree, 21, 3)[STAMP].why == {KEEPSAKES}
    later = tree / "datastore" / "2026-11-25T101500Z"
    school.write_document(later, school.uid(0))
    school.write_document(later, school.uid(1))
    keepsakes.after_run(tree, NEXT, later, later.name, no_sync)
    keepsakes.release_returned(tree, later.name)
    assert list(keepsakes.every(tree)) == [(school.uid(2), NEXT)]
    assert set(pins.read(tree)) == {STAMP}
