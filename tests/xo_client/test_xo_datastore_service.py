# SPDX-License-Identifier: GPL-3.0-or-later
"""Stopping what serves the Journal. In its place stand programs with its name, and in the bus's one that answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from server_side import uid_of, write
from xo_client import datastore_service
from xo_client.datastore_service import Service
from xo_client.errors import Trouble

# Says that it is up, then sleeps; on SIGTERM it ends in its own time.
PROGRAM = """
import os, signal, sys, time
slow = float(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: slow >= 0 and (time.sleep(slow), os._exit(0)))
print("up", flush=True)
if len(sys.argv) > 2:
    child = os.fork()
    if child:
        print(child, flush=True)
while True:
    time.sleep(0.05)
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".sugar" / "default" / "datastore").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def service(home: Path) -> Service:
    return Service(home / ".sugar" / "default")


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    program = home / "datastore-service"
    program.write_text(PROGRAM)
    with ExitStack() as stack:

        def started(slow: float = 0.0, *more: str, **environment: str) -> subprocess.Popen[str]:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(program), str(slow), *more],
                    text=True,
                    stdout=subprocess.PIPE,
                    env={**os.environ, "HOME": str(home), **environment},
                )
            )
            stack.callback(process.kill)
            assert process.stdout
            process.stdout.readline()
            return process

        yield started


def journal(home: Path) -> Path:
    return home / ".sugar" / "default" / "datastore"


def test_it_is_found_stopped_and_waited_for(service: Service, start: Start) -> None:
    process = start(0.3)
    assert service.processes() == [process.pid]
    assert service.stop()
    assert process.poll() == 0
    assert not service.stop()


def test_another_childs_is_none_of_ours(service: Service, start: Start, tmp_path: Path) -> None:
    process = start(HOME=str(tmp_path / "other"))
    assert service.processes() == []
    assert not service.stop()
    assert process.poll() is None


def test_its_child_is_left_alone(service: Service, start: Start) -> None:
    process = start(0.0, "with a child")
    assert process.stdout
    child = int(process.stdout.readline())
    assert service.processes() == [process.pid]
    service.stop()
    time.sleep(0.2)
    os.kill(child, signal.SIGKILL)  # it is still there


def test_one_that_does_not_end_is_waited_for_no_longer(
    service: Service, start: Start, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datastore_service, "_END_SECONDS", 0.3)
    (journal(home) / "ds_clean").touch()
    process = start(-1)
    with pytest.raises(Trouble) as trouble, service.stopped(journal(home)):
        pytest.fail("it was not stopped")
    assert trouble.value.reason == "writing"
    assert process.poll() is None


def test_nobody_is_stopped_while_an_activity_saves(
    service: Service, start: Start, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datastore_service, "_QUIET_SECONDS", 0.5)
    monkeypatch.setattr(datastore_service, "_STILL", 0.1)
    (journal(home) / "ds_clean").touch()
    write(journal(home), uid_of(1), data=b"12", filesize="5", when=int(time.time()))
    process = start()
    with pytest.raises(Trouble) as trouble, service.stopped(journal(home)):
        pytest.fail("it was stopped")
    assert trouble.value.reason == "writing"
    assert process.poll() is None


def test_a_cancel_ends_the_wait(start: Start, home: Path) -> None:
    write(journal(home), uid_of(1), data=b"12", filesize="5", when=int(time.time()))
    process, cancel = start(), threading.Event()
    cancel.set()
    service = Service(home / ".sugar" / "default", cancel)
    with pytest.raises(Trouble) as trouble, service.stopped(journal(home)):
        pytest.fail("it was stopped")
    assert trouble.value.reason == "cancelled"
    assert process.poll() is None


@pytest.mark.parametrize("clean", [True, False])
def test_a_queue_or_a_missing_mark_is_waited_for_but_not_for_ever(
    service: Service, start: Start, home: Path, monkeypatch: pytest.MonkeyPatch, clean: bool
) -> None:
    monkeypatch.setattr(datastore_service, "_STILL", 0.2)
    (journal(home) / "checksums" / "queue").mkdir(parents=True)
    if clean:
        (journal(home) / "ds_clean").touch()
        (journal(home) / "checksums" / "queue" / uid_of(1)).touch()
    process = start()
    began = time.monotonic()
    with service.stopped(journal(home)):
        assert process.poll() is not None
    assert time.monotonic() - began >= 0.2


def test_the_bus_is_asked_and_starts_it_again(
    service: Service, start: Start, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(DBUS_SESSION_BUS_ADDRESS="unix:path=/of/the/service")
    (journal(home) / "ds_clean").touch()
    busctl = home / "bin" / "busctl"
    busctl.parent.mkdir()
    busctl.write_text(f'#!/bin/sh\necho "$@" >>{home}/asked\ncase "$*" in *ProcessID*) echo u {process.pid};; esac\n')
    busctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{busctl.parent}:{os.environ['PATH']}")
    with service.stopped(journal(home)):
        assert process.poll() is not None
        assert "StartService" not in (home / "asked").read_text()
    asked = (home / "asked").read_text().splitlines()
    assert asked[-2].startswith("--address=unix:path=/of/the/service")
    assert asked[-2].endswith("StartServiceByName su org.laptop.sugar.DataStore 0")
    assert asked[-1].endswith("org.laptop.sugar.DataStore mounts")


def test_what_was_not_running_is_not_started(service: Service, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "start", lambda: pytest.fail("it was started"))
    with service.stopped(journal(home)):
        pass
