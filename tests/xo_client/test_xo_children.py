# SPDX-License-Identifier: GPL-3.0-or-later
"""The updater waits for backups, and for a laptop that nobody touches, without reading what is typed."""

from __future__ import annotations

import fcntl
import os
import pwd
import threading
import time
from pathlib import Path

import pytest

from xo_client import children
from xo_client.children import User

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="it becomes another user, as root can")


@pytest.fixture
def child(tmp_path: Path) -> User:
    nobody = pwd.getpwnam("nobody")
    home = tmp_path / "home"
    (home / ".sugar/default/xo-client").mkdir(parents=True)
    for path in (home, *home.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    for path in tmp_path.parents:
        if str(path).startswith(("/tmp/", str(Path(os.environ.get("TMPDIR", "/tmp"))))):
            path.chmod(path.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    return User((*nobody[:5], str(home), "/bin/sh"))


def lock_of(child: User) -> Path:
    return Path(child.pw_dir) / ".sugar/default/xo-client/lock"


@needs_root
def test_a_backup_that_runs_is_waited_for(child: User) -> None:
    lock_of(child).touch()
    with lock_of(child).open() as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        with children.at_rest([child], 0.0) as rest:
            assert not rest
        threading.Timer(1.0, lambda: fcntl.flock(running, fcntl.LOCK_UN)).start()
        with children.at_rest([child], 10.0) as rest:
            assert rest
            with pytest.raises(BlockingIOError):  # and no other begins meanwhile
                fcntl.flock(running, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert os.geteuid() == 0


@needs_root
def test_a_link_in_the_locks_place_holds_up_nobody_elses(child: User, tmp_path: Path) -> None:
    roots = tmp_path / "roots"
    roots.touch(mode=0o600)
    lock_of(child).symlink_to(roots)
    with roots.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with children.at_rest([child], 0.0) as rest:
            assert rest


@needs_root
def test_a_pipe_in_the_locks_place_stops_no_update(child: User) -> None:
    os.mkfifo(lock_of(child), 0o666)
    with children.at_rest([child], 0.0):
        pass


@pytest.fixture
def keyboard(tmp_path: Path) -> Path:
    """A device with keys; what is written to it is typed."""
    (tmp_path / "input").mkdir()
    for name, keys in (("event0", "402000007 ff9f"), ("event1", "0")):
        os.mkfifo(tmp_path / "input" / name)
        (tmp_path / "about" / name / "device/capabilities").mkdir(parents=True)
        (tmp_path / "about" / name / "device/capabilities/key").write_text(keys + "\n")
    return tmp_path


def is_idle(top: Path, quiet: float, patience: float) -> bool:
    return children.nobody_there(quiet, patience, top / "input", top / "about")


def test_a_laptop_that_nobody_touches(keyboard: Path) -> None:
    assert is_idle(keyboard, 0.2, 1.0)


def test_a_laptop_without_a_keyboard_is_not_touched(tmp_path: Path) -> None:
    assert is_idle(tmp_path, 60.0, 60.0)


def test_somebody_types_and_nobody_reads_it(keyboard: Path) -> None:
    typed = os.open(keyboard / "input/event0", os.O_RDWR | os.O_NONBLOCK)
    os.write(typed, b"secret")
    began = time.monotonic()
    assert not is_idle(keyboard, 0.5, 0.6)
    assert time.monotonic() - began < 5
    assert os.read(typed, 100) == b"secret"
    os.close(typed)


def test_what_measures_how_a_laptop_is_held_speaks_without_end_and_does_not_count(keyboard: Path) -> None:
    held = os.open(keyboard / "input/event1", os.O_RDWR | os.O_NONBLOCK)
    os.write(held, b"tilted")
    assert is_idle(keyboard, 0.2, 1.0)
    os.close(held)
