# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import shutil
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import school
from schoolserver import copying, datastore, entries, opening
from schoolserver.entries import Document

ONE, TWO, THREE = school.uid(1), school.uid(2), school.uid(3)


def described(tree: Path, name: str = ONE) -> Document:
    with datastore.entry_in(tree, name) as entry:
        return entries.describe(entry)


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
        assert entries.data_size(entry) is None


def test_a_broken_title_is_shown_as_well_as_it_can_be_and_named(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE, title=b"Rosa\xff\x00\x1b[31m\n letter \xe2\x80\xae")
    said = described(tmp_path)
    assert said.title == "Rosa\ufffd[31m letter "
    assert said.damaged == "title is not UTF-8"


CLOCKS = ["yesterday", "-5", "0", "86400", "1e400", "nan", str(2**32), "4294967295.5", str(2**80)]


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_clock_that_cannot_be_true_counts_as_none_and_is_named(tmp_path: Path, clock: str) -> None:
    school.write_document(tmp_path, ONE, timestamp=clock)
    said = described(tmp_path)
    assert (said.timestamp, said.damaged) == (0, f"its time cannot be true: {clock}")


def test_a_document_without_a_time_is_no_damaged_one(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE, timestamp="")
    assert (described(tmp_path).timestamp, described(tmp_path).damaged) == (0, "")


def test_data_that_is_missing_is_named_and_an_entry_that_has_none_is_whole(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE, None, filesize="1234")
    assert described(tmp_path).damaged == "its data is missing: 1234 bytes"
    school.write_document(tmp_path, ONE, None, filesize="0")
    assert described(tmp_path).damaged == ""


def test_huge_properties_are_cut_and_a_huge_or_false_preview_is_none(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE, title="x" * 2_000_000, preview=school.PNG + b"x" * entries.LONGEST_PREVIEW)
    said = described(tmp_path)
    assert len(said.title) == entries.LONGEST_LINE
    assert not said.preview
    huge = len(school.PNG) + entries.LONGEST_PREVIEW
    assert said.damaged == f"preview has {huge} bytes; title has 2000000 bytes"
    with datastore.entry_in(tmp_path, ONE) as entry:
        assert len(entries.properties(entry)["title"]) == entries.LONGEST_PROPERTY
    school.write_document(tmp_path, ONE, preview=b"<svg onload=alert(1)>")
    assert not described(tmp_path).preview


def test_sugars_own_bookkeeping_makes_no_new_version_and_an_edit_does(tmp_path: Path) -> None:
    def fingerprint() -> str:
        with datastore.entry_in(tmp_path, ONE) as entry:
            return entries.fingerprint(entry)

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
    crowd(tmp_path, entries.MOST_PROPERTIES)
    said = described(tmp_path)
    assert (said.title, said.damaged) == ("Story 01", "more than 256 properties")
    with datastore.entry_in(tmp_path, ONE) as entry:
        with pytest.raises(opening.TooMany):
            entries.files(entry)
        first = entries.fingerprint(entry)
        assert len(entries.properties(entry)) <= entries.MOST_PROPERTIES
    school.write_document(tmp_path, ONE, b"other words")
    with datastore.entry_in(tmp_path, ONE) as entry:
        assert entries.fingerprint(entry) != first


def test_however_many_names_a_laptop_sends_they_do_not_fill_the_memory(tmp_path: Path) -> None:
    school.write_document(tmp_path, ONE)
    crowd(tmp_path, 10_000)
    tracemalloc.start()
    try:
        with datastore.entry_in(tmp_path, ONE) as entry:
            entries.describe(entry)
            entries.fingerprint(entry)
            entries.properties(entry)
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
    with pytest.raises(opening.TooMany, match="more than 10 documents"):
        datastore.entries(tmp_path)
    school.remove_document(tmp_path, school.uid(10))
    for number in range(11):
        (tmp_path / "01" / f"junk{number}").touch()
    with pytest.raises(opening.TooMany, match="more than 10 names"):
        datastore.entries(tmp_path)


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    line = entries.one_line(text)
    assert len(line) <= entries.LONGEST_LINE
    assert line.splitlines() in ([], [line])
    assert not set(line) & set("\0\n\r\x1b\u202e\u2028\x85")


# Layout 0, of Sugar 0.82.


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A datastore as Sugar 0.82 left it: a story with a preview, an entry without data, and a broken one."""
    store = tmp_path / "old" / "store"
    (store / "preview").mkdir(parents=True)
    (store / ONE).write_bytes(b"words")
    said = {
        "title": "मेरो घर",
        "activity": "org.laptop.AbiWordActivity",
        "mime_type": "text/plain",
        "timestamp": 1_222_000_122,
    }
    (store / f"{ONE}.metadata").write_text(json.dumps(said), encoding="utf-8")
    (store / "preview" / ONE).write_bytes(school.PNG)
    (store / f"{TWO}.metadata").write_text(json.dumps({"title": "no data"}), encoding="utf-8")
    (store / f"{THREE}.metadata").write_text("[" * 100_000, encoding="utf-8")
    return tmp_path / "old"


def test_the_first_sugars_documents_are_read_as_documents(old: Path) -> None:
    assert datastore.entries(old) == {ONE: True, TWO: False, THREE: False}
    with datastore.entry_in(old, ONE) as entry:
        said = entries.describe(entry)
        assert (said.title, said.activity, said.size, said.timestamp) == (
            "मेरो घर", "org.laptop.AbiWordActivity", 5, 1_222_000_122,
        )  # fmt: skip
        assert entries.preview(entry) == school.PNG
        assert entries.properties(entry)["mime_type"] == "text/plain"
    with datastore.entry_in(old, THREE) as entry:
        assert entries.describe(entry).title == ""
    with pytest.raises(FileNotFoundError), datastore.entry_in(old, school.uid(99)):
        pass


def test_a_copy_of_the_first_sugars_document_is_one_of_todays(old: Path, tmp_path: Path) -> None:
    for uid in (ONE, TWO, THREE):
        with datastore.entry_in(old, uid) as entry:
            copying.entry(entry, tmp_path / "copy" / uid)
    copy = tmp_path / "copy" / ONE
    assert (copy / "data").read_bytes() == b"words"
    assert (copy / "metadata" / "title").read_text(encoding="utf-8") == "मेरो घर"
    assert (copy / "metadata" / "preview").read_bytes() == school.PNG
    with datastore.entry_at(copy) as entry:
        assert entries.describe(entry).title == "मेरो घर"


@pytest.mark.parametrize("key", ["../../escape", "", ".", "..", "a/b", "\ud800"])
def test_a_hostile_key_of_the_first_sugars_leads_nowhere(old: Path, tmp_path: Path, key: str) -> None:
    (old / "store" / f"{ONE}.metadata").write_text(json.dumps({key: "x", "title": "t"}), encoding="utf-8")
    with datastore.entry_in(old, ONE) as entry:
        copying.entry(entry, tmp_path / "copy")
    assert not list(tmp_path.rglob("*escape*"))
    assert (tmp_path / "copy" / "metadata" / "title").read_text() == "t"


def test_a_link_in_the_first_sugars_store_is_not_followed(old: Path) -> None:
    (old / "store" / ONE).unlink()
    (old / "store" / ONE).symlink_to("/etc/hostname")
    (old / "store" / f"{TWO}.metadata").unlink()
    (old / "store" / f"{TWO}.metadata").symlink_to("/etc/hostname")
    assert datastore.entries(old) == {ONE: False, THREE: False}
    with datastore.entry_in(old, ONE) as entry:
        assert entries.data_size(entry) is None
