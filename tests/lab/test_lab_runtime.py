# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import runtime
from lab.trouble import Trouble

LIMITS = [["--ulimit=nofile=8:8"], ["--ulimit=nofile=4:4"]]


def machine(*needs: str) -> Callable[[list[str]], str]:
    """A machine that is content when it gets all of `needs`, and shows the first one's symptom until then."""
    symptoms = {"--cgroupns=private": "limits", "--pids-limit=-1": "tasks", "--ulimit=nofile=4:4": "refused: rlimit"}

    def probe(options: list[str]) -> str:
        absent = [need for need in needs if need not in options]
        return symptoms.get(absent[0], "refused: no such cgroup") if absent else ""

    return probe


def test_an_ordinary_machine_gets_no_option() -> None:
    assert runtime.settle(machine(), ["runc"], LIMITS) == []


@given(
    st.permutations(["--runtime=runc", "--ulimit=nofile=4:4", "--cgroupns=private", "--pids-limit=-1"]),
    st.integers(0, 4),
)
def test_each_symptom_gets_its_cure_and_nothing_else(needs: list[str], many: int) -> None:
    assert set(runtime.settle(machine(*needs[:many]), ["runc"], LIMITS)) == set(needs[:many])


def test_hosts_that_would_share_their_cgroups_get_a_hierarchy_of_their_own() -> None:
    def probe(options: list[str]) -> str:
        return "" if "--systemd=false" in options else "shared"

    assert runtime.settle(probe, [], LIMITS) == list(runtime.OWN_HIERARCHY)


def test_a_host_that_starts_and_does_not_boot_gets_cgroups_of_its_own() -> None:
    def probe(options: list[str]) -> str:
        return "" if "--cgroupns=private" in options else "asleep: it stopped while booting"

    assert runtime.settle(probe, ["runc"], LIMITS) == ["--cgroupns=private"]


@pytest.mark.parametrize(
    ("symptom", "advice"),
    [
        ("limits", "systemd.unified_cgroup_hierarchy=1"),
        ("tasks", "pids_limit"),
        ("shared", "share their cgroups"),
        ("refused: rlimit", "machine or VM of your own"),
        ("refused: something new", "something new"),
        ("asleep: it stopped", "it stopped"),
    ],
)
def test_a_machine_that_no_option_helps_is_told_in_one_line_what_to_do(symptom: str, advice: str) -> None:
    with pytest.raises(Trouble, match=advice) as trouble:
        runtime.settle(lambda _options: symptom, ["runc", "crun"], LIMITS)
    assert "\n" not in str(trouble.value)


@given(st.integers(0, 1 << 20), st.integers(0, 1 << 20))
def test_limits_only_fall_and_come_to_an_end(files: int, processes: int) -> None:
    tried = list(runtime.ulimits(files, processes))
    assert len(tried) == len({tuple(one) for one in tried}) < 50
    if files >= 1024 and processes >= 1024:
        assert tried[0] == [f"--ulimit=nofile={files}:{files}", f"--ulimit=nproc={processes}:{processes}"]
