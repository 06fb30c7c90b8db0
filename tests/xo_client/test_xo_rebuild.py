# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entries Sugar's rebuild deletes. The table is what the real one did, Sugar 0.120 and 0.121, entry by entry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server_side import uid_of, write
from xo_client import rebuild

# What is in an entry besides a sound document's properties, and whether Sugar deleted it.
SEEN: list[tuple[dict[str, str | bytes], bool]] = [
    ({}, False),
    ({"timestamp": "1.2e9"}, True),
    ({"timestamp": ""}, True),
    ({"timestamp": " 17 \n"}, False),
    ({"timestamp": "1_7"}, False),
    ({"timestamp": "+17"}, False),
    ({"timestamp": str(2**31)}, True),
    ({"timestamp": str(2**31 - 1)}, False),
    ({"creation_time": "abc"}, True),
    ({"filesize": str(2**31)}, True),
    ({"filesize": "-5"}, False),
    ({"filesize": "abc"}, True),
    ({"tags": b"\xe9\xff"}, True),
    ({"preview": b"\xe9\xff\x00"}, False),
    ({"activity": "a" * 243}, False),
    ({"activity": "a" * 244}, True),
    ({"mime_type": "a" * 245}, True),
    ({"activity_id": "a" * 245}, True),
    ({"keep": "a" * 245}, True),
    ({"project_id": "a" * 245}, True),
    ({"title": "x" * 5000}, False),
    ({"other": "y" * 1000}, False),
    ({"tags": "x " * 256_000}, False),
    ({"tags": "x " * 256_000 + "x"}, True),
    ({"preview": b"y" * 512 * 1024}, True),
    ({"tags": "a\0b"}, False),
    ({"checksum": ""}, False),
    ({"checksum": b"\xff"}, True),
    ({".half": "x"}, False),
    # One of these, and the service itself ended while it wrote its index.
    ({"activity": "\0" * 130}, True),
]


@pytest.mark.parametrize(("properties", "deleted"), SEEN, ids=lambda value: str(value)[:40])
def test_it_deletes_what_it_cannot_read(tmp_path: Path, properties: dict[str, str | bytes], deleted: bool) -> None:
    entry = write(tmp_path, uid_of(1))
    for key, value in properties.items():
        (entry / "metadata" / key).write_bytes(value.encode() if isinstance(value, str) else value)
    assert bool(rebuild.will_delete(entry)) == deleted


def test_what_is_no_file_among_the_properties_costs_an_entry(tmp_path: Path) -> None:
    def entry(number: int) -> Path:
        return write(tmp_path, uid_of(number))

    (entry(1) / "metadata" / "link").symlink_to("nowhere")
    (entry(2) / "metadata" / "directory").mkdir()
    os.mkfifo(entry(3) / "metadata" / "pipe")
    (entry(4) / "beside").mkdir()
    reasons = [rebuild.will_delete(tmp_path / uid_of(number)[:2] / uid_of(number)) for number in (1, 2, 3, 4)]
    assert reasons == ["there is something in it that is no file"] * 3 + [""]


def test_a_name_that_is_no_text_costs_an_entry(tmp_path: Path) -> None:
    entry = write(tmp_path, uid_of(1))
    Path(os.fsdecode(bytes(entry / "metadata") + b"/k\xff")).write_text("x")
    assert "not readable" in rebuild.will_delete(entry)


def test_without_properties_it_is_deleted(tmp_path: Path) -> None:
    assert rebuild.will_delete(tmp_path)
    (tmp_path / "metadata").mkdir()
    assert rebuild.will_delete(tmp_path)


def test_contents_that_are_short_are_damage_that_sugar_keeps(tmp_path: Path) -> None:
    short = write(tmp_path, uid_of(1), data=b"12", filesize="5")
    none = write(tmp_path, uid_of(2), data=None, filesize="5")
    assert rebuild.damage(short) == "its contents are not whole"
    assert rebuild.damage(none) == "its contents are missing"
    assert (rebuild.will_delete(short), rebuild.will_delete(none)) == ("", "")
    assert rebuild.damage(write(tmp_path, uid_of(3), data=None, filesize="0")) == ""
    (none / "data").symlink_to("/etc/passwd")
    assert rebuild.damage(none) == "its contents are no file"


@pytest.mark.parametrize(
    ("ctime", "has_time"),
    [("2009-05-01T12:00:00", True), ("2009-05-01T12:00:00.123", False), ("9999-12-31T23:59:59", True), ("\0", False)],
)
def test_a_creation_time_is_added_where_sugar_would_stumble(tmp_path: Path, ctime: str, has_time: bool) -> None:
    entry = write(tmp_path, uid_of(1), ctime=ctime)
    rebuild.complete(entry)
    assert (entry / "metadata" / "creation_time").read_text() == "1700000000"
    (entry / "metadata" / "creation_time").unlink()
    rebuild.complete(entry)
    assert (entry / "metadata" / "creation_time").exists() == has_time
    assert rebuild.will_delete(entry) == ""


def test_a_title_is_one_line_and_no_link_is_followed(tmp_path: Path) -> None:
    entry = write(tmp_path, uid_of(1), title="A\nlong\x1b[31m   story\u202e " + "x" * 1000)
    assert rebuild.title(entry) == ("A long[31m story " + "x" * 1000)[:200]
    (entry / "metadata" / "title").unlink()
    (entry / "metadata" / "title").symlink_to("/etc/passwd")
    assert rebuild.title(entry) == ""
