# SPDX-License-Identifier: GPL-3.0-or-later
"""registry.db as its readers see it: by its file alone, without write access."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from laptops import ANN, JIM, after, request
from schoolserver import registry
from schoolserver.errors import Refusal
from schoolserver.policy import Request

KNOWN = after(request(JIM, 0), request(ANN, 1), request("ABC12345678", 1), request(JIM, 2))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    registry.write(tmp_path / "registry.db", KNOWN.accounts.values(), 0)
    return tmp_path / "registry.db"


def test_names_lead_to_trees_and_trees_to_uids(file: Path) -> None:
    assert [registry.tree_of(name, file) for name in (JIM, ANN, "ABC12345678", "SHC99999999")] == [JIM, ANN, ANN, None]
    assert [registry.uid_of(tree, file) for tree in (JIM, f"{JIM}.2", ANN, "SHC99999999")] == [
        20000,
        20000,
        20001,
        None,
    ]


def test_the_rows_hold_every_tree(file: Path) -> None:
    rows = registry.rows(file)
    assert [(row.tree, row.learner, row.names) for row in rows] == [
        (JIM, JIM, (JIM,)),
        (f"{JIM}.2", f"{JIM}.2", ()),
        (ANN, ANN, ("ABC12345678", ANN)),
    ]


def test_a_laptop_in_store_is_retired_until_it_comes_back_with_another_key(tmp_path: Path) -> None:
    def retired(*requests: Request) -> bool:
        known = after(*requests).accounts
        stored = {**known, JIM: replace(known[JIM], retired="2026-11-23T10:00:00Z")}
        registry.write(tmp_path / "registry.db", stored.values(), 0)
        return registry.is_retired(JIM, tmp_path / "registry.db")

    assert retired(request(JIM, 0))
    # Wiped and given out again: permission is asked by serial, and the new key backs up under it.
    assert not retired(request(JIM, 0), request(JIM, 1))


def test_before_the_first_registration_nobody_is_known(tmp_path: Path) -> None:
    assert registry.tree_of(JIM, tmp_path / "registry.db") is None
    assert registry.rows(tmp_path / "registry.db") == []


def test_a_hostile_name_is_only_a_name(file: Path) -> None:
    for name in ("' OR 1=1 --", "", "\0", "नाम"):
        assert registry.tree_of(name, file) is None


def test_the_readers_group_can_read_and_nobody_else(tmp_path: Path) -> None:
    registry.write(tmp_path / "registry.db", [], 4711)
    status = (tmp_path / "registry.db").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 0, 4711)
    assert [path.name for path in tmp_path.iterdir()] == ["registry.db"]


def test_a_reader_without_write_access_reads(file: Path) -> None:
    registry.write(file, KNOWN.accounts.values(), 4711)
    for directory in (file.parent, *file.parent.parents):
        if stat.S_IMODE(directory.stat().st_mode) & 0o5 != 0o5:
            directory.chmod(0o755)
        if directory.name.startswith("pytest-of"):
            break
    script = "import os; from pathlib import Path; from schoolserver import registry; "
    # The import comes first: nobody but root may be able to read where this clone stands.
    script += "os.setgroups([]); os.setgid(4711); os.setuid(4711); "
    script += f"print(registry.tree_of({JIM!r}, Path({str(file)!r})))"
    package = str(Path(registry.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": package}, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (JIM, "")


def test_a_newer_schema_and_a_damaged_file_are_named(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute(f"PRAGMA user_version = {registry.SCHEMA + 1}")
    with pytest.raises(Refusal, match=f"its schema is {registry.SCHEMA + 1}, not {registry.SCHEMA}"):
        registry.rows(file)
    file.write_bytes(b"x" * 5000)
    with pytest.raises(Refusal, match="restart xs-registrar"):
        registry.rows(file)


def test_a_leftover_of_a_crash_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".registry.db.new").write_bytes(os.urandom(5000))
    registry.write(tmp_path / "registry.db", KNOWN.accounts.values(), 0)
    assert registry.tree_of(JIM, tmp_path / "registry.db") == JIM
