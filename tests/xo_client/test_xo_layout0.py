# SPDX-License-Identifier: GPL-3.0-or-later
"""Sugar 0.82's Journal comes back as one of today's."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from server_side import School, look, uid_of
from xo_client import layout0, rebuild, restore, sugar
from xo_client.progress import Printer
from xo_client.state import State

UID = uid_of(1)
SAID = {
    "title": "Cat é", "mtime": "2008-10-12T14:30:00", "ctime": "2008-10-11T10:00:00", "activity": "org.laptop.Write",
    "keep": 1, "buddies": None, "share-scope": True, "timestamp": 1223821800.7,
}  # fmt: skip


def old(
    store: Path, uid: str, said: object = SAID, data: bytes | None = b"cat", preview: bytes | None = b"PNG"
) -> None:
    (store / "preview").mkdir(parents=True, exist_ok=True)
    (store / f"{uid}.metadata").write_text(said if isinstance(said, str) else json.dumps(said))
    os.utime(store / f"{uid}.metadata", (1_223_821_800, 1_223_821_800))
    if data is not None:
        (store / uid).write_bytes(data)
    if preview is not None:
        (store / "preview" / uid).write_bytes(preview)


def converted(tmp_path: Path) -> dict[str, bytes]:
    layout0.convert(tmp_path / "store", UID, tmp_path / "entry")
    return {name: content for name, (kind, content) in look(tmp_path / "entry").items() if kind == "file"}


def test_an_entry_becomes_one_of_today(tmp_path: Path) -> None:
    old(tmp_path / "store", UID)
    found = converted(tmp_path)
    assert found["data"] == b"cat"
    assert found["metadata/preview"] == b"PNG"
    assert found["metadata/title"] == "Cat é".encode()
    assert found["metadata/uid"] == UID.encode()
    assert found["metadata/timestamp"] == b"1223821800"
    assert int(found["metadata/creation_time"]) < 1223821800
    assert found["metadata/keep"] == b"1"
    assert "metadata/buddies" not in found
    assert rebuild.damage(tmp_path / "entry") == ""
    assert (tmp_path / "entry" / "metadata" / "title").stat().st_mtime == 1_223_821_800


def test_without_a_timestamp_it_has_the_old_one(tmp_path: Path) -> None:
    old(tmp_path / "store", UID, {"title": "x", "mtime": "2008-10-12T14:30:00.123456"}, data=None, preview=None)
    found = converted(tmp_path)
    assert int(found["metadata/timestamp"]) == int(found["metadata/creation_time"]) > 1_223_000_000
    assert "data" not in found


@pytest.mark.parametrize("said", ["", "[1]", "{", '"text"', "[" * 100_000, json.dumps({str(n): 1 for n in range(300)})])
def test_what_is_no_list_of_properties_is_unreadable(tmp_path: Path, said: str) -> None:
    old(tmp_path / "store", UID, said)
    with pytest.raises(layout0.Unreadable):
        converted(tmp_path)


def test_keys_lead_nowhere_and_links_are_not_followed(tmp_path: Path) -> None:
    said = {
        "../../up": "x",
        "a/b": "x",
        ".hidden": "x",
        "..": "x",
        "": "x",
        "k" * 300: "x",
        "nul\0": "x",
        "title": "ok",
    }
    old(tmp_path / "store", UID, said, data=None, preview=None)
    (tmp_path / "store" / UID).symlink_to("/etc/passwd")
    (tmp_path / "store" / "preview" / UID).symlink_to("/etc/passwd")
    assert set(converted(tmp_path)) <= {f"metadata/{key}" for key in ("title", "uid", "timestamp", "creation_time")}
    assert not (tmp_path / "up").exists()


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
)


@given(some.dictionaries(some.text() | some.sampled_from(["timestamp", "mtime", "ctime", "uid", "preview"]), JSON))
def test_no_properties_are_too_strange(tmp_path_factory: pytest.TempPathFactory, said: dict[str, Any]) -> None:
    top = tmp_path_factory.mktemp("strange")
    old(top / "store", UID, said)
    found = converted(top)
    assert found["metadata/uid"] == UID.encode()


def test_a_whole_journal_comes_back(tmp_path: Path) -> None:
    school = School(tmp_path / "school")
    snapshot = school.snapshot()
    (snapshot / "version").unlink()
    for number in range(3):
        old(snapshot / "store", uid_of(number), {**SAID, "title": f"{number}"})
    old(snapshot / "store", uid_of(3), "broken", data=None)
    (snapshot / "store" / "index").mkdir()
    (snapshot / "store" / "index" / "x").touch()
    profile = tmp_path / "profile"
    sugar.datastore(profile).mkdir(parents=True)

    def run() -> restore.Result:
        engine = restore.Restore(State(profile), school.remote, Printer(), threading.Event())
        return engine.run(school.history, restore.Wish())

    result = run()
    assert result.restored == 3
    assert [left.uid for left in result.left] == [uid_of(3)]
    journal = sugar.datastore(profile)
    assert sorted(path.read_text() for path in journal.glob("??/*/metadata/title")) == ["0", "1", "2"]
    assert (journal / "version").read_text() == "6"
    assert not (journal / "store").exists()
    before = look(journal)
    assert run().restored == 0
    assert look(journal) == before
