# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said, noted and removed where the disk did not give a file back."""

from __future__ import annotations

from pathlib import Path

import pytest

import school
from schoolserver import unreadable
from schoolserver.engines import DATASTORE, DOCUMENTS

STAMP, LATER = "2026-11-23T101500Z", "2026-11-24T101500Z"
ONE = school.uid(1)
DATA = ("01", ONE, "data")
PATH = f"datastore-current/01/{ONE}/data"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = school.make_tree(tmp_path / "users")
    school.write_document(tree / "datastore-current", ONE)
    (tree / "documents" / "letter").write_text("dear")
    return tree


def test_the_file_goes_and_one_line_and_a_note_say_so(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unreadable.settle(tree, DATASTORE, STAMP, [DATA, ("01", ONE, "metadata", "title")])
    assert not (tree / PATH).exists()
    assert (tree / "datastore-current" / "01" / ONE / "metadata" / "activity").exists()
    assert sorted(unreadable.read(tree)) == [PATH, f"datastore-current/01/{ONE}/metadata/title"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"SHC12345678: {STAMP}: 2 files or directories cannot be read any more, such as '{PATH}'")


def test_a_snapshot_that_is_whole_ends_the_note_of_its_kind_and_no_other(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unreadable.settle(tree, DATASTORE, STAMP, [DATA])
    unreadable.settle(tree, DOCUMENTS, STAMP, [("letter",)])
    assert unreadable.read(tree) == {PATH: STAMP, "documents/letter": STAMP}
    capsys.readouterr()
    unreadable.settle(tree, DATASTORE, LATER, [])
    assert unreadable.read(tree) == {"documents/letter": STAMP}
    unreadable.settle(tree, DOCUMENTS, LATER, [])
    assert unreadable.read(tree) == {}
    assert capsys.readouterr() == ("", "")


def test_where_all_could_be_read_nothing_is_written(tree: Path) -> None:
    unreadable.settle(tree, DATASTORE, STAMP, [])
    assert not (tree / unreadable.FILE).exists()


def test_a_link_on_the_way_leads_nowhere_else(tree: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "data").write_text("another's")
    school.remove_document(tree / "datastore-current", ONE)
    (tree / "datastore-current" / "01" / ONE).symlink_to(victim)
    with pytest.raises(OSError):
        unreadable.settle(tree, DATASTORE, STAMP, [DATA])
    assert (victim / "data").read_text() == "another's"


def test_a_directory_and_what_is_gone_already_stay_as_they_are(tree: Path) -> None:
    unreadable.settle(tree, DATASTORE, STAMP, [("01", ONE, "metadata"), ("01", ONE, "gone")])
    assert (tree / "datastore-current" / "01" / ONE / "metadata" / "title").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", "7"])
def test_a_note_that_is_damaged_says_nothing_and_is_written_anew(tree: Path, text: str) -> None:
    (tree / unreadable.FILE).write_text(text)
    assert unreadable.read(tree) == {}
    unreadable.settle(tree, DATASTORE, STAMP, [DATA])
    assert unreadable.read(tree) == {PATH: STAMP}
