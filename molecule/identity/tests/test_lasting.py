# SPDX-License-Identifier: GPL-3.0-or-later
"""It lasts: the library alone says who is who. What /var and /etc hold of it comes back by itself.

The school that is made here is the one that goes on, in ../tests_moved, on another machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

import small_school
from laptop import Laptops
from server import Server
from small_school import School, assert_served

SERVICES = "xs-registrar xs-registration xs-permission xs-journal xs-snapshot"
DERIVED = "/var/lib/xs/registry.db /etc/xs/keys/* /etc/xs/learners /var/lib/extrausers/*"


@pytest.fixture(scope="module")
def here(laptops: Laptops, server: Server) -> School:
    """A school in which everything has happened to laptops that can."""
    return small_school.made(laptops, server)


def wait_until(true: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Return when `true()` is; fail, naming `what`, when it is not within `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)


def test_what_is_derived_comes_back_from_the_library_alone(here: School, server: Server) -> None:
    before = server.identity()
    server.run(f"rm -rf {DERIVED}")
    assert server.identity() != before
    server.run("systemctl restart xs-registrar")
    wait_until(lambda: server.identity() == before, "all of it is there again")
    assert_served(here, server)


def test_services_that_are_restarted_during_a_backup_lose_nothing(laptops: Laptops, server: Server) -> None:
    laptop = laptops("Jim").settled(1)
    laptop.write("A long film", 30_000_000)
    running = threading.Event()
    failed: list[BaseException] = []

    def back_up() -> None:
        try:
            running.set()
            laptop.back_up()
        except BaseException as error:
            failed.append(error)

    backup = threading.Thread(target=back_up)
    backup.start()
    running.wait()
    for _ in range(3):  # systemd takes five within ten seconds for a fault
        server.run(f"systemctl restart {SERVICES} ssh nginx")
    backup.join()
    # An old client tries again in the next minutes, where it was told so.
    assert failed == [] or laptop.back_up()
    wait_until(lambda: server.lost(laptop.backed_up, laptop.serial) == [], "the snapshot is taken")
    wait_until(lambda: laptop.read("datastore-latest/") == laptop.journal(), "and is the latest")
