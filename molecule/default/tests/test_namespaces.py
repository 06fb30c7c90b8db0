# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the jail could not be opened, site.yml says so before it changes anything, and how to switch it on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
Play = Callable[..., Any]


@pytest.fixture
def no_namespaces(host: Host) -> Iterator[None]:
    """Ordinary users open none. The switch itself is the whole machine's, so the question is answered instead."""
    host.check_output("printf '#!/bin/sh\\necho unshare failed: EPERM >&2\\nexit 1\\n' >/root/unshare")
    host.check_output("chmod 755 /root/unshare && mount --bind /root/unshare /usr/bin/unshare")
    yield
    host.check_output("umount /usr/bin/unshare && rm /root/unshare")


@pytest.mark.parametrize("options", [(), ("--check",)], ids=["in earnest", "in check mode"])
def test_where_namespaces_are_switched_off_site_yml_says_so_before_it_changes_anything(
    no_namespaces: None, play: Play, name: str, options: tuple[str, ...]
) -> None:
    done = play(PROJECT / "playbooks/site.yml", *options)
    assert done.returncode != 0, done.stdout
    assert "changed=0 " in done.stdout, done.stdout
    assert "Make the school server" not in done.stdout, done.stdout
    said = " ".join(done.stdout.split())
    assert f"{name} does not let ordinary users open namespaces" in said
    assert "kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000" in said
