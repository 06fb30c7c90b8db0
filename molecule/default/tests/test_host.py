# SPDX-License-Identifier: GPL-3.0-or-later
"""The host itself: without it no other test means anything."""

from __future__ import annotations

from testinfra.host import Host


def test_the_host_is_up_and_nothing_on_it_failed(host: Host) -> None:
    assert host.check_output("systemctl is-system-running") == "running", host.run("systemctl --failed").stdout
