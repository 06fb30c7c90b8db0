# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at while other documents still arrive counts only if it is still so at the end."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from server_side import OWN, STAMP, uid_of, write
from xo_client import rebuild, restore_plan
from xo_client.restore_plan import Document, Source
from xo_client.staging import Staging, regular

SOURCE = Source(OWN, STAMP, f"datastore/{STAMP}")
FIRST, SECOND = uid_of(1), uid_of(2)


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "xo-client", tmp_path / "datastore")


def arrived(staging: Staging, uid: str, **how: str) -> Document:
    """Write what came of a document, and return it as the listing promised it."""
    entry = write(staging.folder(SOURCE), uid, **how)  # type: ignore[arg-type]
    names = ["data", *(f"metadata/{path.name}" for path in (entry / "metadata").iterdir())]
    return Document(uid, SOURCE, regular(entry, filter(restore_plan.is_part, names)))


def check(staging: Staging, *documents: Document) -> tuple[set[str], dict[str, str]]:
    checked = staging.check(documents, threading.Event(), lambda _number: None)
    return set(checked.places), {left.uid: left.why for left in checked.left}


def test_early_or_late_it_is_the_same(staging: Staging) -> None:
    sound, broken = arrived(staging, FIRST), arrived(staging, SECOND, timestamp="1.5")
    why = {SECOND: "its timestamp is no number that Sugar can read"}
    assert check(staging, sound, broken) == ({FIRST}, why)
    staging.look([sound, broken])
    assert check(staging, sound, broken) == ({FIRST}, why)


def test_it_is_not_read_twice(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = arrived(staging, FIRST)
    staging.look([sound])
    monkeypatch.setattr(rebuild, "damage", lambda _entry: pytest.fail("it was read again"))
    assert check(staging, sound) == ({FIRST}, {})


def test_what_is_not_all_there_waits(staging: Staging) -> None:
    half, none = arrived(staging, FIRST), Document(SECOND, SOURCE, {"data": (1, 1)})
    data = staging.folder(SOURCE) / FIRST[:2] / FIRST / "data"
    content = data.read_bytes()
    times = data.stat().st_mtime_ns
    data.unlink()
    staging.look([half, none])
    data.write_bytes(content)
    os.utime(data, ns=(times, times))
    assert check(staging, half, none) == ({FIRST}, {SECOND: "the school server could not read all of it"})


def test_a_link_that_comes_after_the_look_goes(staging: Staging) -> None:
    sound = arrived(staging, FIRST)
    staging.look([sound])
    link = staging.folder(SOURCE) / FIRST[:2] / FIRST / "metadata" / "link"
    link.symlink_to("/etc/passwd")
    assert check(staging, sound) == ({FIRST}, {})
    assert not link.is_symlink()


def test_a_time_that_is_missing_is_added_after_an_early_look_too(staging: Staging) -> None:
    write(staging.folder(SOURCE), FIRST, ctime="2009-05-01T12:00:00")
    metadata = staging.folder(SOURCE) / FIRST[:2] / FIRST / "metadata"
    (metadata / "creation_time").unlink()
    names = ["data", *(f"metadata/{path.name}" for path in metadata.iterdir())]
    document = Document(FIRST, SOURCE, regular(metadata.parent, names))
    staging.look([document])
    assert check(staging, document) == ({FIRST}, {})
    assert (metadata / "creation_time").exists()


def test_pruning_leaves_only_what_is_wanted(staging: Staging) -> None:
    wanted, other = arrived(staging, FIRST), arrived(staging, SECOND)
    top = staging.folder(SOURCE)
    (top / "dangling").symlink_to("nowhere")
    (top / FIRST[:2] / FIRST / "metadata" / "old").write_text("of an older version")
    assert staging.there([wanted, other]) == {FIRST: wanted.bytes, SECOND: other.bytes}
    staging.prune([wanted])
    assert staging.there([wanted, other]) == {FIRST: wanted.bytes}
    assert [path.name for path in top.iterdir()] == [FIRST[:2]]
    assert not (top / FIRST[:2] / FIRST / "metadata" / "old").exists()
