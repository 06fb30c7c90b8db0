# SPDX-License-Identifier: GPL-3.0-or-later
"""When a laptop updates, to what, what it says where it does not, and who judges a new version."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xo_client import update_plan, words
from xo_client.conditions import Power
from xo_client.update_plan import NOBODY, UPDATER, Check

MAINS, FULL, LOW, PC = Power(True, 10), Power(False, 80), Power(False, 29), Power(True, None)
WELL, ILL = Check(True, ""), Check(False, "no")


def newer(one: str, other: str) -> bool:
    return not other or int(one) > int(other)


@pytest.mark.parametrize(
    ("power", "metered", "asked", "reason"),
    [
        (MAINS, False, False, ""),
        (PC, False, False, ""),
        (FULL, False, False, "mains"),
        (MAINS, True, False, "metered"),
        (FULL, False, True, ""),
        (LOW, False, True, "battery"),
        (MAINS, True, True, ""),
    ],
)
def test_not_now(power: Power, metered: bool, asked: bool, reason: str) -> None:
    assert update_plan.not_now(power, metered=metered, asked=asked) == reason
    assert not reason or words.UPDATES[reason]


@pytest.mark.parametrize(
    ("installed", "whole", "offered", "wanted"),
    [
        ("2", True, "3", "3"),
        ("2", True, "2", ""),
        ("2", True, "1", ""),
        ("2", False, "2", "2"),  # an installation that was cut off
        ("2", False, "1", ""),
        ("2", True, "", ""),
        ("", True, "3", ""),  # a school that takes its package off a laptop finds it gone
    ],
)
def test_what_is_wanted(installed: str, whole: bool, offered: str, wanted: str) -> None:
    assert update_plan.wanted(installed, whole, offered, newer) == wanted


@given(st.lists(st.integers(0, 99).map(str)), st.integers(0, 99).map(str), st.booleans())
def test_no_list_brings_an_older_version(offered: list[str], installed: str, whole: bool) -> None:
    wanted = update_plan.wanted(installed, whole, update_plan.newest(offered, newer), newer)
    assert not wanted or int(wanted) >= int(installed)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("E: Release file for http://schoolserver/… is not valid yet (invalid for another 329d).", "clock"),
        (("W: OpenPGP signature verification failed: … Not live until 2026-11-26T19:01:51Z\nE: The repository is not "
         "signed."), "clock"),
        (("W: GPG error: http://…: The following signatures couldn't be verified: NO_PUBKEY 8B1\nE: The repository "
         "'http://schoolserver/client/apt school InRelease' is not signed."), "key"),
        ("E: The repository 'http://schoolserver/client/apt school Release' is not signed.", "unsigned"),
        ("E: Failed to fetch http://…/Packages  Hash Sum mismatch\n   Hashes of expected file:", "tampered"),
        ("E: Failed to fetch http://…/x.deb  404  Not Found [IP: 172.18.0.1 80]", "half"),
        ("E: Failed to fetch http://…/InRelease  Could not connect to schoolserver:80", "away"),
        ("E: Failed to fetch http://…/InRelease  Temporary failure resolving 'schoolserver'", "away"),
        ("dpkg: error processing archive …: failed to write (No space left on device)", "disk"),
        ("E: You don't have enough free space in /var/cache/xo-client/archives/.", "disk"),
        ("E: Held packages were changed and -y was used without --allow-change-held-packages.", "held"),
        ("The following packages have unmet dependencies:\n xo-client : Depends: python3-new", "depends"),
        ("dpkg: error: dpkg frontend lock was locked by another process with pid 7", "locked"),
        ("\napt-get did not end in 300 s", "slow"),
    ],
)  # fmt: skip
def test_what_apt_says_is_one_sentence(said: str, reason: str) -> None:
    assert update_plan.cause(said) == (reason, words.UPDATES[reason])


def test_what_nobody_foresaw_is_shown_in_apts_own_words() -> None:
    said = "Reading package lists...\nE: The moon is \x1b[31m full\n"
    assert update_plan.cause(said) == ("apt", "The update did not work: E: The moon is [31m full")
    assert update_plan.cause("") == ("apt", "The update did not work:")


@given(st.text())
def test_whatever_apt_says_is_one_line(said: str) -> None:
    message = update_plan.cause(said)[1]
    assert message.isprintable()
    assert len(message) < 300


def test_a_child_whose_key_was_broken_before_says_nothing_of_a_version() -> None:
    before = {UPDATER: WELL, NOBODY: WELL, "maria": ILL, "jim": WELL}
    assert update_plan.fallen(before, {**before, "maria": ILL}) == []
    assert update_plan.fallen(before, {**before, "jim": ILL}) == ["jim"]


def test_a_check_that_never_works_lets_no_version_pass() -> None:
    assert update_plan.fallen({UPDATER: ILL, NOBODY: ILL}, {UPDATER: ILL, NOBODY: WELL}) == [UPDATER]


def test_where_the_old_version_does_not_work_either_the_new_one_is_not_to_blame() -> None:
    assert update_plan.is_to_blame([NOBODY, "jim"], {NOBODY: WELL, "jim": ILL})
    assert not update_plan.is_to_blame([NOBODY, "jim"], {NOBODY: ILL, "jim": ILL, UPDATER: WELL})


SOUND = (
    "Id=xo-update.timer\nLoadState=loaded\nWantedBy=timers.target\n\n"
    "Id=xo-push.socket\nLoadState=loaded\nWantedBy=sockets.target\n\n"
    "Id=xo-update.service\nLoadState=loaded\nWantedBy=\n"
)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("", "", ""),
        ("Id=xo-update.service\nLoadState=loaded", "Id=xo-update.service\nLoadState=bad-setting", "xo-update.service"),
        ("timers.target", "", "nothing starts xo-update.timer"),
        ("\n\nId=xo-push.socket\nLoadState=loaded\nWantedBy=sockets.target", "", "does not know"),
        (SOUND, "", "does not know"),
    ],
)
def test_a_unit_that_would_not_start_again_is_named(old: str, new: str, said: str) -> None:
    found = update_plan.unsound(SOUND.replace(old, new) if old else SOUND, 3)
    assert said in found
    assert bool(found) == bool(said)
