# SPDX-License-Identifier: GPL-3.0-or-later
"""How much a learner has, counted by a real `find`; what becomes of a session that brings too much is test_gate.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolserver import allowance
from schoolserver.allowance import Limits, Usage

ROOMY = Limits(1_000_000, 1 << 50, 100)


def counted(*places: Path, limits: Limits = ROOMY) -> Usage:
    return allowance.count([str(place) for place in places], limits)


def test_names_of_any_kind_and_the_bytes_of_files_are_counted(tmp_path: Path) -> None:
    (tmp_path / "document").write_bytes(b"x" * 1000)
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 10**12)
    (tmp_path / "link").symlink_to("/")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "name\nof two\x1b lines\udcff").touch()
    usage = counted(tmp_path)
    assert usage.files == 6
    assert 10**12 + 1000 < usage.bytes < 10**12 + 100_000, "a hole counts: who reads it back needs the room"


def test_room_that_is_taken_beyond_the_end_of_a_file_counts(tmp_path: Path) -> None:
    # A program in rsync's place can ask the kernel for it (FALLOC_FL_KEEP_SIZE); the file stays empty to look at.
    file = tmp_path / "empty"
    file.touch()
    done = subprocess.run(["fallocate", "--keep-size", "--length=8M", file], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this file system gives no such room")
    assert file.stat().st_size == 0
    assert counted(tmp_path).bytes >= 8 << 20


def test_several_places_count_together_and_one_that_is_not_there_is_empty(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert counted(tmp_path / "one", tmp_path / "none", tmp_path / "two").files == 2


def test_no_depth_is_too_deep(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    assert counted(tmp_path).files == 3001
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look as somebody else")
@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100])
def test_a_directory_that_hides_what_is_in_it_counts_as_more_than_anybody_may_have(tmp_path: Path, mode: int) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "film").write_bytes(b"x" * 1000)
    for path in (tmp_path, hidden):
        os.chown(path, 20000, 20000)
    hidden.chmod(mode)
    top = os.open(tmp_path, os.O_RDONLY)
    script = (
        "import os, sys; from schoolserver.allowance import *; os.fchdir(int(sys.argv[1]));"
        "os.setgroups([]); os.setgid(20000); os.setuid(20000);"
        "limits = Limits(100, 10**6, 100); print(count(['.'], limits).over(limits))"
    )
    package = str(Path(allowance.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", script, str(top)], env={"PYTHONPATH": package}, pass_fds=[top],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("more than 1 MB", "")


def test_what_is_far_too_much_is_not_counted_to_its_end(tmp_path: Path) -> None:
    for number in range(30_000):
        (tmp_path / str(number)).touch()
    usage = counted(tmp_path, limits=Limits(10, 1 << 50, 100))
    assert 10 < usage.files < 30_000


@given(st.lists(st.integers(0, 1 << 40)), st.integers(0, 100))
def test_counts_add_up_however_the_pieces_come(sizes: list[int], cut: int) -> None:
    lines = [b"%d" % size for size in sizes]
    together = allowance.add(Usage(0, 0), *lines)
    assert together == Usage(len(sizes), sum(sizes))
    assert allowance.add(allowance.add(Usage(0, 0), *lines[:cut]), *lines[cut:]) == together


@pytest.mark.parametrize(
    ("usage", "said"),
    [
        (Usage(100, 10**9), ""),
        (Usage(101, 0), "more than 100 files"),
        (Usage(0, 10**9 + 1), "more than 1000 MB"),
    ],
)
def test_too_much_is_said_in_words(usage: Usage, said: str) -> None:
    assert usage.over(Limits(100, 10**9, 95)) == said


def watch(command: list[str], places: list[str], limits: Limits, disk: str) -> allowance.Ended:
    jailed = os.posix_spawn(command[0], command, {}, setpgroup=0)
    return allowance.watch(jailed, places, limits, disk)


def test_a_command_that_keeps_to_the_limits_ends_as_it_would(tmp_path: Path) -> None:
    ended = watch(["/usr/bin/sh", "-c", "exit 24"], [str(tmp_path)], ROOMY, str(tmp_path))
    assert (ended.code, ended.why) == (24, "")
    assert ended.usage == counted(tmp_path)


def test_a_command_that_dies_by_a_signal_has_the_code_of_a_shell(tmp_path: Path) -> None:
    assert watch(["/usr/bin/sh", "-c", "kill -TERM $$"], [str(tmp_path)], ROOMY, str(tmp_path)).code == 128 + 15


def test_a_command_that_writes_too_many_files_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "_COUNT_EVERY", 0.05)
    monkeypatch.setattr(allowance, "_LOOK_EVERY", 0.01)
    script = f"n=0; while :; do n=$((n+1)); : >{tmp_path}/$n; done"
    ended = watch(["/usr/bin/sh", "-c", script], [str(tmp_path)], Limits(500, 1 << 50, 100), str(tmp_path))
    assert ended.code == 128 + 9
    assert ended.why == "more than 500 files"


def test_on_a_disk_that_is_too_full_nothing_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "_LOOK_EVERY", 0.01)
    ended = watch(["/usr/bin/sleep", "999"], [str(tmp_path)], Limits(1_000_000, 1 << 50, -1), str(tmp_path))
    assert (ended.code, ended.why) == (128 + 9, "more than the school server has room for")


def test_nothing_of_a_watch_is_left(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    watch(["/usr/bin/true"], [str(tmp_path)], ROOMY, str(tmp_path))
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
