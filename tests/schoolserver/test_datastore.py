# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import school
from schoolserver import datastore
from schoolserver.datastore import Document

ONE = school.uid(1)


def described(tree: Path, name: str = ONE) -> Document:
    with datastore.entry_in(tree, name) as entry:
        return datastore.describe(entry)


def test_a_document_says_what_it_is(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE, b"12345", title="मेरो कथा", preview=school.PNG)
    assert described(tmp_path) == Document(
        "मेरो कथा", "org.laptop.AbiWordActivity", "text/plain", 5, 1_790_000_000, True, ""
    )


def test_only_entries_with_a_strict_uid_in_the_right_drawer_are_documents(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE)
    school.write_document(tmp_path, school.uid(2), data=None)
    school.write_document(tmp_path / "elsewhere", school.uid(3))
    (tmp_path / "01" / "not-a-uid").mkdir()
    (tmp_path / "02" / ONE / "metadata").mkdir(parents=True)
    (tmp_path / "index").mkdir()
    assert datastore.entries(tmp_path) == {ONE: True, school.uid(2): False}


def test_what_is_left_of_a_document_being_deleted_is_none(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE)
    shutil.rmtree(tmp_path / "01" / ONE / "metadata")
    assert datastore.entries(tmp_path) == {}


def test_a_link_anywhere_on_the_way_is_not_followed(tmp_path: Path) -> None:
    others, mine = tmp_path / "others", tmp_path / "mine"
    school.write_document(others, ONE, b"secret", title="secret")
    mine.mkdir()
    (mine / "01").symlink_to(others / "01")
    assert datastore.entries(mine) == {}
    with pytest.raises(OSError):
        described(mine)
    (mine / "01").unlink()
    (mine / "01").mkdir()
    (mine / "01" / ONE).symlink_to(others / "01" / ONE)
    assert datastore.entries(mine) == {}
    (mine / "01" / ONE).unlink()
    (mine / "01" / ONE).mkdir()
    (mine / "01" / ONE / "data").symlink_to(others / "01" / ONE / "data")
    (mine / "01" / ONE / "metadata").symlink_to(others / "01" / ONE / "metadata")
    assert datastore.entries(mine) == {}
    assert described(mine) == Document("", "", "", 0, 0, False, "no properties")
    (mine / "01" / ONE / "metadata").unlink()
    (mine / "01" / ONE / "metadata").mkdir()
    (mine / "01" / ONE / "metadata" / "title").symlink_to(others / "01" / ONE / "metadata" / "title")
    (mine / "01" / ONE / "metadata" / "activity").write_text("a")
    said = described(mine)
    assert (said.title, said.size, said.activity) == ("", 0, "a")
    assert said.damaged.startswith("title cannot be read")


def test_a_pipe_does_not_hold_the_reader(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE, data=None)
    os.mkfifo(tmp_path / "01" / ONE / "data")
    (tmp_path / "01" / ONE / "metadata" / "title").unlink()
    os.mkfifo(tmp_path / "01" / ONE / "metadata" / "title")
    assert described(tmp_path).title == ""
    with datastore.entry_in(tmp_path, ONE) as entry:
        assert datastore.data_size(entry) is None


def test_a_broken_title_is_shown_as_well_as_it_can_be_and_named(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE, title=b"Rosa\xff\x00\x1b[31m\n letter \xe2\x80\xae")
    said = described(tmp_path)
    assert said.title == "Rosa\ufffd[31m letter "
    assert said.damaged == "title is not UTF-8"


@pytest.mark.parametrize("clock", ["", "yesterday", "-5", "1e400", "nan", str(2**80)])
def test_a_clock_that_cannot_be_true_counts_as_none(tmp_path: Path, clock: str) -> None:
    school.write_document(tmp_path, ONE, timestamp=clock)
    assert described(tmp_path).timestamp == 0


def test_huge_properties_are_cut_and_a_huge_or_false_preview_is_none(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE, title="x" * 2_000_000, preview=school.PNG + b"x" * datastore.LONGEST_PREVIEW)
    assert len(described(tmp_path).title) == datastore.LONGEST_LINE
    assert not described(tmp_path).preview
    with datastore.entry_in(tmp_path, ONE) as entry:
        assert len(datastore.properties(entry)["title"]) == datastore.LONGEST_PROPERTY
    school.write_document(tmp_path, ONE, preview=b"<svg onload=alert(1)>")
    assert not described(tmp_path).preview


def test_sugars_own_bookkeeping_makes_no_new_version_and_an_edit_does(tmp_path: Path) -> None:
    def fingerprint() -> str:
        with datastore.entry_in(tmp_path, ONE) as entry:
            return datastore.fingerprint(entry)

    school.write_document(tmp_path, ONE)
    first = fingerprint()
    school.write_document(tmp_path, ONE, checksum="abc")
    assert fingerprint() == first
    school.write_document(tmp_path, ONE, when=1_790_000_001, checksum="abc")
    assert fingerprint() != first


def crowd(tree: Path, names: int) -> None:
    """Give document ONE so many empty properties besides its own."""
    for number in range(names):
        (tree / "01" / ONE / "metadata" / f"x{number}").touch()


def test_an_entry_with_too_many_properties_is_damaged_and_still_shown(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE)
    crowd(tmp_path, datastore.MOST_PROPERTIES)
    said = described(tmp_path)
    assert (said.title, said.damaged) == ("Story 01", "more than 256 properties")
    with datastore.entry_in(tmp_path, ONE) as entry:
        with pytest.raises(datastore.TooMany):
            datastore.files(entry)
        first = datastore.fingerprint(entry)
        assert len(datastore.properties(entry)) <= datastore.MOST_PROPERTIES
    school.write_document(tmp_path, ONE, b"other words")
    with datastore.entry_in(tmp_path, ONE) as entry:
        assert datastore.fingerprint(entry) != first


def test_however_many_names_a_laptop_sends_they_do_not_fill_the_memory(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE)
    crowd(tmp_path, 10_000)
    tracemalloc.start()
    try:
        with datastore.entry_in(tmp_path, ONE) as entry:
            datastore.describe(entry)
            datastore.fingerprint(entry)
            datastore.properties(entry)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_journal_that_no_laptop_can_have_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datastore, "MOST_DOCUMENTS", 10)
    for number in range(10):
        school.write_document(tmp_path, school.uid(number))
    assert len(datastore.entries(tmp_path)) == 10
    school.write_document(tmp_path, school.uid(10))
    with pytest.raises(datastore.TooMany, match="more than 10 documents"):
        datastore.entries(tmp_path)
    school.remove_document(tmp_path, school.uid(10))
    for number in range(11):
        (tmp_path / "01" / f"junk{number}").touch()
    with pytest.raises(datastore.TooMany, match="more than 10 names"):
        datastore.entries(tmp_path)


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    line = datastore.one_line(text)
    assert len(line) <= datastore.LONGEST_LINE
    assert line.splitlines() in ([], [line])
    assert not set(line) & set("\0\n\r\x1b\u202e\u2028\x85")
