# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the updater, with a laptop's dpkg and a school's list made up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from xo_client import apt, children, laptop, publication, update, update_checks, update_record, words
from xo_client.apt import Ended
from xo_client.conditions import Power
from xo_client.publication import Published
from xo_client.update_guard import Guard
from xo_client.update_plan import CLIENT, SCHOOL, Check

WELL, BAD = Ended(0, "", ""), Ended(100, "", "dpkg: error processing package xo-client (--configure):")


class Laptop:
    """What is installed, what the school's list has, and whether each version works."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.has = {CLIENT: ("1", True), SCHOOL: ("1", True)}
        self.school = {CLIENT: "2", SCHOOL: "1"}
        self.ill: set[str] = set()
        self.power, self.touched, self.rest = Power(True, 90), False, True
        self.refreshed = self.fetched = self.installed = WELL
        self.did: list[str] = []

    def install(self, package: str, version: str) -> Ended:
        assert package == SCHOOL or self.guard.is_set(), "nothing changes before there is a way back"
        self.did.append(f"install {package} {version}")
        if self.installed.well or "configure" in self.installed.err:
            self.has[package] = (version, self.installed.well)
        return self.installed

    def back(self, file: Path) -> Ended:
        self.did.append("back")
        self.has[CLIENT] = (file.read_text(), True)
        return WELL

    def check(self, name: str) -> Check:
        well = self.has[CLIENT][0] not in self.ill
        return Check(well, "" if well else "It does not work.")

    def refresh(self) -> Ended:
        self.did.append("refresh")
        return self.refreshed

    def run(self, *arguments: str, refused: OSError | None = None) -> tuple[str, str]:
        """Run the updater; return the outcome and the version that is there."""
        self.did.clear()
        update.main(list(arguments), self.guard, refused)
        assert not self.guard.is_set()
        assert refused or not self.guard.back.exists()
        record = update_record.read(self.guard.record)
        return (record.outcome if record else ""), self.has[CLIENT][0]


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "source").touch()
    made = Laptop(Guard(tmp_path))
    made.guard.state.mkdir(parents=True)

    class Rest:
        def __init__(self, *_: object) -> None: ...
        def __enter__(self) -> bool:
            return made.rest

        def __exit__(self, *_: object) -> None: ...

    for module, name, fake in (
        (apt, "SOURCE", tmp_path / "source"),
        (apt, "is_here", lambda: True),
        (apt, "clear", lambda: None),
        (apt, "refresh", made.refresh),
        (apt, "offered", lambda package: [made.school[package]]),
        (apt, "installed", made.has.__getitem__),
        (apt, "download", lambda *_: made.fetched),
        (apt, "install", made.install),
        (apt, "install_file", made.back),
        (apt, "is_newer", lambda one, other: one > other),
        (apt, "repack", lambda _, into: into.write_text(made.has[CLIENT][0])),
        (laptop, "power", lambda: made.power),
        (laptop, "metered", lambda: False),
        (publication, "fetch", lambda _: Published(made.school[CLIENT], made.school[SCHOOL])),
        (children, "children", list),
        (children, "nobody_there", lambda *_: not made.touched),
        (children, "at_rest", Rest),
        (update_checks, "check", made.check),
        (update, "_is_there", lambda: True),
        (update, "_AGAIN", 0.0),
    ):
        monkeypatch.setattr(module, name, fake)
    return made


def test_a_newer_version_comes_and_the_next_look_finds_it_there(one: Laptop) -> None:
    assert one.run() == ("updated", "2")
    assert one.run() == ("current", "2")
    assert one.did == []


@pytest.mark.parametrize(
    "hinder",
    [
        lambda one: setattr(one, "power", Power(False, 90)),
        lambda one: setattr(one, "touched", True),
        lambda one: setattr(one, "rest", False),
    ],
)
def test_it_waits_and_a_record_is_not_worth_it(one: Laptop, hinder: Callable[[Laptop], None]) -> None:
    hinder(one)
    assert one.run() == ("", "1")
    assert "install xo-client 2" not in one.did


def test_a_version_that_does_not_work_is_taken_back_and_not_tried_again_by_itself(one: Laptop) -> None:
    one.ill = {"2"}
    assert one.run() == ("failed", "1")
    assert one.did == ["refresh", "install xo-client 2", "back"]
    assert one.run() == ("failed", "1")
    assert one.did == []
    assert one.run("pushed") == ("failed", "1")
    assert "install xo-client 2" in one.did
    one.school[CLIENT] = "3"
    assert one.run() == ("updated", "3")


def test_what_did_not_work_is_remembered_over_another_failure(one: Laptop) -> None:
    one.ill = {"2"}
    one.run()
    one.school[SCHOOL], one.refreshed = "2", Ended(100, "", "E: The repository is not signed.")
    assert one.run() == ("failed", "1")
    one.refreshed = WELL
    one.run()
    assert "install xo-client 2" not in one.did


def test_on_a_laptop_that_is_ill_already_each_version_is_tried_once_and_not_at_the_first_look(one: Laptop) -> None:
    one.ill = {"1", "2"}
    assert one.run() == ("failed", "1")
    assert one.did == ["refresh"]
    assert one.run() == ("failed", "1")
    assert one.did[1:] == ["install xo-client 2", "back"]
    assert one.run() == ("failed", "1")
    assert one.did == []
    one.school[CLIENT] = "3"
    one.run()
    assert one.run() == ("updated", "3"), "it may be what the new version mends"


def test_a_laptop_that_was_ill_for_an_hour_is_updated_in_the_next(one: Laptop) -> None:
    one.ill = {"1", "2"}
    one.run()
    one.ill = set()
    assert one.run() == ("updated", "2")


def test_a_server_that_comes_back_with_the_version_before_makes_the_new_one_no_bad_one(
    one: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "_is_there", lambda: False)
    monkeypatch.setattr(update, "_GONE", 0.0)
    one.ill = {"2"}
    assert one.run() == ("later", "1")
    one.ill = set()
    assert one.run() == ("updated", "2")


def test_a_version_that_dpkg_cannot_configure_is_taken_back_and_remembered(one: Laptop) -> None:
    one.installed = BAD
    assert one.run() == ("failed", "1")
    assert one.did[-1] == "back"
    assert one.run() == ("failed", "1")
    assert one.did == []


def test_a_package_that_does_not_come_whole_changes_nothing_and_is_tried_again(one: Laptop) -> None:
    one.fetched = Ended(100, "", "E: Failed to fetch …  Hash Sum mismatch")
    assert one.run() == ("failed", "1")
    assert one.did == ["refresh"]
    one.fetched = WELL
    assert one.run() == ("updated", "2")


def test_a_version_that_is_cut_off_twice_is_not_tried_a_third_time(
    one: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(_package: str, _version: str) -> Ended:
        # What the next start of the laptop finds, and makes the record.
        one.guard.record.write_text((one.guard.back / "update.json").read_text())
        one.guard.remove()
        raise KeyboardInterrupt

    monkeypatch.setattr(apt, "install", cut_off)
    for bad in ("", "2"):
        with pytest.raises(KeyboardInterrupt):
            one.run()
        record = update_record.read(one.guard.record)
        assert record is not None
        assert record.bad == bad
    monkeypatch.setattr(apt, "install", one.install)
    one.run()
    assert "install xo-client 2" not in one.did


def test_what_somebody_installs_by_hand_meanwhile_is_left_alone(one: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_hand(_package: str, into: Path) -> None:
        into.write_text("1")
        one.has[CLIENT] = ("2", True)

    monkeypatch.setattr(apt, "repack", by_hand)
    assert one.run() == ("", "2")
    assert one.did == ["refresh"]


def test_newer_keys_come_first_and_must_be_good_for_the_next_list(one: Laptop) -> None:
    one.school[SCHOOL] = "2"
    assert one.run() == ("updated", "2")
    assert one.did == ["refresh", "install xo-school 2", "refresh", "install xo-client 2"]


def test_older_versions_are_left_alone(one: Laptop) -> None:
    one.school = {CLIENT: "0", SCHOOL: "0"}
    assert one.run() == ("current", "1")
    assert one.did == ["refresh"]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(28, "No space left on device", "/var/x"), words.UPDATES["disk"]),
        (OSError(30, "Read-only file system"), words.UPDATES["readonly"]),
        (OSError("dpkg-query: no path found"), "The update did not work: dpkg-query: no path found"),
    ],
)
def test_what_the_laptop_itself_refuses_changes_nothing_and_is_said(
    one: Laptop, monkeypatch: pytest.MonkeyPatch, error: OSError, why: str
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(apt, "repack", refuse)
    assert one.run() == ("failed", "1")
    assert one.did == ["refresh"]
    record = update_record.read(one.guard.record)
    assert record
    assert record.message == why


@pytest.mark.parametrize(
    ("refused", "percent", "said"),
    [
        (BlockingIOError(), 90, ("later", "Another update")),
        (OSError(30, "Read-only file system"), 90, ("failed", "cannot be written")),
        (OSError(28, "No space left on device"), 90, ("failed", "disk is full")),
        (OSError(5, "Input/output error"), 90, ("failed", "Input/output error")),
        (None, 10, ("later", "battery")),
        (None, 90, ("updated", "version 2")),
    ],
)
def test_a_push_hears_one_line(
    one: Laptop, capsys: pytest.CaptureFixture[str], refused: OSError | None, percent: int, said: tuple[str, str]
) -> None:
    one.power, one.touched = Power(False, percent), True
    one.run("pushed", refused=refused)
    heard = capsys.readouterr().out
    assert heard.count("\n") == 1
    answer = json.loads(heard)
    assert (answer["format"], answer["outcome"], answer["was"]) == (1, said[0], "1")
    assert said[1] in answer["message"]
    assert set(answer) == {"format", "outcome", "version", "was", "message"}


def test_a_disk_that_breaks_at_the_end_is_said_for_the_next_start_goes_back(
    one: Laptop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(one.guard, "remove", broken)
    assert update.main([], one.guard, None) == 1
    assert words.UPDATES["stuck"] in capsys.readouterr().out
    assert one.guard.is_set()


def test_where_dpkg_cannot_be_started_there_is_a_sentence(one: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_package: str) -> tuple[str, bool]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(apt, "installed", broken)
    assert update.main([], one.guard, None) == 1
    record = update_record.read(one.guard.record)
    assert record
    assert "Input/output error" in record.message


@pytest.mark.parametrize(("runs", "well"), [(False, True), (True, False)])
def test_a_laptop_whose_sshd_does_not_run_can_update(
    one: Laptop, monkeypatch: pytest.MonkeyPatch, runs: bool, well: bool
) -> None:
    units = ("xo-update.timer", "xo-push.socket", "xo-update.service", "xo-push@0.service")
    shown = "\n\n".join(f"Id={unit}\nLoadState=loaded\nWantedBy=x.target" for unit in units)

    def run(command: list[str], _seconds: float) -> Ended:
        if command[:2] == ["systemctl", "show"]:
            return Ended(0, shown, "")
        if command[0] == "systemctl":
            return WELL if runs or "ssh" not in command[-1] else Ended(3, "inactive", "")
        return Ended(255, "", "Missing privilege separation directory: /run/sshd")

    monkeypatch.setattr(apt, "run", run)
    monkeypatch.setattr(os.path, "isdir", lambda _: True)
    assert (update_checks.of_the_updater() == 0) is well
