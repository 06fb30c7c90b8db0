# SPDX-License-Identifier: GPL-3.0-or-later
"""The open sessions of a laptop that may not go on; on a running host it is molecule/identity."""

from __future__ import annotations

import os
import subprocess

import pytest

from schoolserver import sessions

MINE, OTHERS = 59998, 59997  # uids that nobody else has on a machine that runs the tests


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_only_the_processes_of_that_uid_end() -> None:
    mine, others = (subprocess.Popen(["sleep", "999"], user=uid, group=uid) for uid in (MINE, OTHERS))
    try:
        assert sessions.end({MINE}) == 1
        assert mine.wait(timeout=5) == -9
        assert others.poll() is None
    finally:
        others.kill()
        others.wait()


def test_where_there_are_none_nothing_happens() -> None:
    assert sessions.end({MINE}) == 0
    assert sessions.end(set()) == 0
