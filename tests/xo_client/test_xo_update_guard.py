# SPDX-License-Identifier: GPL-3.0-or-later
"""An update that is cut off is undone at the next start, by systemd and dpkg alone."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from xo_client import update_guard
from xo_client.update_guard import Guard


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    made = Guard(tmp_path)
    made.back.mkdir(parents=True)
    made.package.write_bytes(b"way back")
    return made


def test_it_is_set_and_removed(guard: Guard) -> None:
    assert not guard.is_set()
    guard.set("cut off\n")
    assert guard.is_set()
    assert guard.wanted.resolve() == guard.unit
    assert (guard.back / "update.json").read_text() == "cut off\n"
    guard.remove()
    assert not guard.is_set()
    assert not guard.unit.exists()
    assert not guard.back.exists()


def test_the_unit_puts_the_package_back_writes_the_record_and_removes_itself(guard: Guard) -> None:
    guard.set("cut off\n")
    lines = [line.partition("=")[2] for line in guard.unit.read_text().splitlines() if line.startswith("ExecStart=")]
    assert lines[0].endswith(f"dpkg --install --force-confold {guard.package}")
    for line in lines[2:]:
        subprocess.run(line.lstrip("-").split(), check=True)
    assert guard.record.read_text() == "cut off\n"
    assert not guard.is_set()
    assert not guard.unit.exists()


def test_systemd_reads_the_unit(guard: Guard) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    guard.set("cut off\n")
    ended = subprocess.run(["systemd-analyze", "verify", guard.unit], check=False, capture_output=True, text=True)
    assert update_guard.NAME not in ended.stderr


def test_what_was_cut_off_before_anything_changed_is_only_cleared(guard: Guard) -> None:
    assert not guard.is_set()
    guard.clear()
    assert not guard.back.exists()


def test_one_update_at_a_time(guard: Guard) -> None:
    with update_guard.alone(guard) as first, update_guard.alone(guard) as second:
        assert first is None
        assert isinstance(second, BlockingIOError)
    with update_guard.alone(guard) as third:
        assert third is None


@pytest.mark.skipif(os.geteuid() != 0, reason="it mounts")
def test_a_disk_that_cannot_be_written_is_no_other_update(guard: Guard, request: pytest.FixtureRequest) -> None:
    with update_guard.alone(guard):
        pass
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", guard.state], check=True)
    request.addfinalizer(lambda: subprocess.run(["umount", guard.state], check=True))
    (guard.state / "update.lock").touch()
    state = str(guard.state)
    subprocess.run(["mount", "-o", "remount,ro", state], check=True)
    with update_guard.alone(guard) as there:
        assert there is None, "one that is there can be locked"
    subprocess.run(["mount", "-o", "remount,rw", state], check=True)
    (guard.state / "update.lock").unlink()
    subprocess.run(["mount", "-o", "remount,ro", state], check=True)
    with update_guard.alone(guard) as none:
        assert none
        assert none.errno == errno.EROFS


def test_what_was_cut_off_is_mended_before_the_next_update(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    went = []
    monkeypatch.setattr(guard, "go", lambda: went.append(guard.is_set()))
    guard.set("cut off\n")
    with update_guard.alone(guard):
        assert went == [True]


def test_what_is_cut_off_after_the_record_goes_on_at_the_next_start(guard: Guard) -> None:
    guard.set("cut off\n")
    (guard.back / "update.json").rename(guard.record)
    lines = [line.partition("=")[2] for line in guard.unit.read_text().splitlines() if line.startswith("ExecStart=")]
    for line in lines[2:]:
        subprocess.run(line.lstrip("-").split(), check=not line.startswith("-"), capture_output=True)
    assert guard.record.read_text() == "cut off\n"
    assert not guard.is_set()


def test_a_way_back_that_is_lost_holds_no_update_up(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "go", lambda: None)
    guard.set("cut off\n")
    with update_guard.alone(guard):
        assert guard.is_set()
    assert f"ConditionPathExists={guard.package}\n" in guard.unit.read_text()
    guard.package.unlink()
    with update_guard.alone(guard):
        assert not guard.is_set()
