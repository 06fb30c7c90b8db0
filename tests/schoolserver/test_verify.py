# SPDX-License-Identifier: GPL-3.0-or-later
"""A pass over a whole school: what it says, how it goes on, and to whom it gives way."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import rotting
import school
from schoolserver import checksums, cli, decay, paths, snapshot, stamps, verify
from schoolserver.errors import Refusal
from schoolserver.house import House

BEGIN = school.day(10)


def at_once(_: int) -> None:
    """Pause for no time."""


@pytest.fixture
def here(any_library: Path) -> House:
    """Two trees with a document each."""
    here = House(any_library / "users", any_library)
    for number in (1, 2):
        tree = school.make_tree(here.users, f"SHC{number:08}")
        school.write_document(tree / "datastore-current", school.uid(1), rotting.noise())
        school.end_run(tree)
        assert snapshot.take(tree, school.day(number), any_library / "catalog.db")
    return here


def document(here: House) -> Path:
    return next(here.users.glob(f"SHC00000002/datastore/*/*/{school.uid(1)}/data"))


def test_a_sound_school_is_verified_once_a_month(here: House, capfd: pytest.CaptureFixture[str]) -> None:
    told: list[int] = []
    passes = verify.run(here, BEGIN, told.append)
    assert passes.ended
    assert not passes.begun
    assert sum(told) >= 2 * 64 * 1024
    # How much there is depends on what else lies in this file system.
    assert re.fullmatch(r"verified \d\.\d GB: 0 decayed\n", capfd.readouterr().out)
    assert verify.run(here, school.day(0), at_once, anew=True).bytes >= 2 * 64 * 1024
    again = verify.run(here, stamps.time_of(passes.ended), at_once)
    assert again.ended == decay.read(here.state / decay.FILE).ended
    assert (here.state / decay.FILE).stat().st_mode & 0o777 == 0o640


def test_what_a_disk_lost_is_said_and_told_until_it_is_mended(
    here: House, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    verify.run(here, BEGIN, at_once)
    lost, stored = document(here), document(here).read_bytes()
    mount = here.state.parent
    rotting.rot(mount, stored[:4096])
    capfd.readouterr()
    monkeypatch.setattr(paths, "USERS", here.users)
    monkeypatch.setattr(paths, "STATE", here.state)
    monkeypatch.setattr("sys.argv", ["xs", "verify", "--fast"])
    assert cli.main() == 1
    said = capfd.readouterr().err
    assert f"'{lost.relative_to(here.users)}': decayed: " in said
    assert "xs: 1 files have decayed: see `xs status`" in said
    monkeypatch.setattr("sys.argv", ["xs", "status"])
    assert cli.main() == 2
    assert f"decayed  SHC00000002  {lost.relative_to(here.users / 'SHC00000002')}: " in capfd.readouterr().out
    rotting.rot(mount, bytes([stored[0] ^ 0xFF]) + stored[1:4096])
    monkeypatch.setattr("sys.argv", ["xs", "verify", "--fast"])
    assert cli.main() == 0


def test_a_pass_that_is_cut_off_goes_on_where_it_was(here: House) -> None:
    after = []

    def cut(size: int) -> None:
        if decay.read(here.state / decay.FILE).after:
            after.append(decay.read(here.state / decay.FILE))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify.run(here, BEGIN, cut)
    assert after[0].begun == "2026-12-03T101500Z"
    told: list[int] = []
    done = verify.run(here, school.day(11), told.append)
    assert done.bytes == after[0].bytes + sum(told)


def test_files_are_recorded_in_nights_without_a_pass_too(here: House) -> None:
    passes = verify.run(here, BEGIN, at_once)
    tree = here.users / "SHC00000001"
    (tree / "datastore-current" / "version").write_text("7")
    school.end_run(tree)
    assert snapshot.take(tree, BEGIN, here.state / "catalog.db")
    told: list[int] = []
    assert verify.run(here, stamps.time_of(passes.ended), told.append) == passes
    assert sum(told) == (1 if (tree / checksums.FILE).exists() else 0)


def test_two_do_not_verify_at_once(here: House) -> None:
    def second(_: int) -> None:
        with pytest.raises(Refusal, match="verified already"):
            verify.run(here, BEGIN, at_once)

    verify.run(here, BEGIN, second)


def test_it_stands_back_while_a_session_is_open_but_not_for_ever(here: House, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    clock = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    pause = verify.considerate(here.users)
    pause(verify.RATE)
    assert slept == [1.0]
    with snapshot.held(here.users / "SHC00000002"):
        assert verify.is_busy(here.users)
        slept.clear()
        pause(0)
    assert 600 <= sum(slept) < 610
    assert not verify.is_busy(here.users)


@pytest.mark.parametrize("trick", [os.mkfifo, lambda path: os.symlink("/etc/passwd", path)])
def test_no_trick_with_a_lock_holds_it_up(here: House, trick: Callable[[Path], None]) -> None:
    lock = here.users / "SHC00000002" / ".state" / "lock"
    lock.unlink(missing_ok=True)
    trick(lock)
    assert not verify.is_busy(here.users)
