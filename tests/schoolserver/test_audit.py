# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit trail: added to, never changed, whatever stood or happened before."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptops import ANN, JIM
from schoolserver import audit
from schoolserver.audit import Entry, Who

FIRST = Entry("2026-11-23T10:15:00Z", "maria", "172.18.0.20", JIM, f"{JIM} is in store")
SECOND = Entry("2026-11-24T10:15:00Z", f"laptop {ANN}", "172.18.0.77", ANN, "new tree")


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def test_one_change_is_one_line_of_json(trail: Path) -> None:
    audit.record(trail, [FIRST, SECOND], 0)
    first, second = (json.loads(line) for line in trail.read_text().splitlines())
    assert first == {
        "when": "2026-11-23T10:15:00Z",
        "who": "maria",
        "where": "172.18.0.20",
        "tree": JIM,
        "what": f"{JIM} is in store",
    }
    assert second["tree"] == ANN


def test_what_stood_there_stays_as_it_was_and_the_file_is_the_same(trail: Path) -> None:
    audit.record(trail, [FIRST], 0)
    before, file = trail.read_bytes(), trail.stat().st_ino
    audit.record(trail, [SECOND], 0)
    assert trail.read_bytes().startswith(before)
    assert trail.stat().st_ino == file
    assert audit.read(trail) == [FIRST, SECOND]


def test_nothing_to_say_makes_no_file(trail: Path) -> None:
    audit.record(trail, [], 0)
    assert not trail.exists()
    assert audit.read(trail) == []


def test_a_line_that_a_power_cut_left_half_stays_alone(trail: Path) -> None:
    audit.record(trail, [FIRST], 0)
    with trail.open("ab") as file:
        file.write(b'{"when": "2026-11-23T11:')
    audit.record(trail, [SECOND], 0)
    assert trail.read_text().splitlines()[1] == '{"when": "2026-11-23T11:'
    assert audit.read(trail) == [FIRST, SECOND]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to a group")
def test_it_is_roots_and_its_readers_whatever_it_was_before(trail: Path) -> None:
    trail.touch(0o666)
    os.chown(trail, 4711, 4711)
    mask = os.umask(0)
    try:
        audit.record(trail, [FIRST], 4712)
    finally:
        os.umask(mask)
    status = trail.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 0, 4712)


def test_a_link_in_its_place_leads_nowhere(trail: Path) -> None:
    target = trail.with_name("target")
    target.write_text("another's\n")
    trail.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        audit.record(trail, [FIRST], 0)
    assert target.read_text() == "another's\n"


def test_lines_that_are_none_are_left_out(trail: Path) -> None:
    lines = [b"", b"{", b"5", b"null", b'"x"', b"[]", b"\xff\xfe", b'{"when": "x"}', b'{"other": 1}']
    trail.write_bytes(b"\n".join(lines) + b"\n")
    audit.record(trail, [FIRST], 0)
    assert audit.read(trail) == [FIRST]


def test_of_some_trees_only_theirs_are_read(trail: Path) -> None:
    audit.record(trail, [FIRST, SECOND, FIRST], 0)
    assert audit.read(trail, [JIM]) == [FIRST, FIRST]
    assert audit.read(trail, []) == []


def test_a_person_is_named_with_the_place_where_there_is_one() -> None:
    assert str(Who("maria", "172.18.0.20")) == "maria from 172.18.0.20"
    assert str(Who("maria")) == "maria"


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.builds(Entry, TEXT, TEXT, TEXT, TEXT, TEXT)))
def test_whatever_is_said_comes_back_in_one_piece(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]
) -> None:
    trail = tmp_path_factory.mktemp("trail") / "audit.jsonl"
    for entry in entries:
        audit.record(trail, [entry], 0)
    assert audit.read(trail) == entries
    assert trail.read_bytes().count(b"\n") == len(entries) if entries else not trail.exists()


SHORT_OF_SPACE = """
import sys
from pathlib import Path
from schoolserver import audit
audit.record(Path(sys.argv[1]), [audit.Entry("when", "who", "where", "tree", "what " * 100)], 0)
"""


def test_where_only_a_part_can_be_written_it_is_an_error_and_no_silent_loss(trail: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # in place of a full disk: write() takes a part
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    command = [sys.executable, "-c", SHORT_OF_SPACE, str(trail)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, preexec_fn=limit, env=environment, capture_output=True, text=True, check=False)
    assert "OSError: [Errno 27] File too large" in done.stderr
    audit.record(trail, [FIRST], 0)
    assert audit.read(trail) == [FIRST]
