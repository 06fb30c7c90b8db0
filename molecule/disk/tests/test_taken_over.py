# SPDX-License-Identifier: GPL-3.0-or-later
"""A new school server takes a library as it is, wherever it lies."""

from __future__ import annotations

import json
import os
from pathlib import Path

from testinfra.host import Host

RUNS = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"], "build/lab", os.environ["MOLECULE_SCENARIO_NAME"], "changes")


def changed(kind: str, run: int = 0) -> list[str]:
    """Return what a run of site.yml of that kind changed, handlers as well; the first is 0, the last -1."""
    file = sorted(RUNS.glob(f"*-{kind}-site.jsonl"))[run]
    notes = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return sorted(f"{one['at']}: {one['task']} {one['items']}" for one in notes if one["changed"])


def test_whatever_a_laptop_sends_stays_data(host: Host) -> None:
    library = host.mount_point("/library")
    assert library.filesystem == "ext4"
    assert {"nosuid", "nodev", "noexec", "noatime"} <= set(library.options)


def test_the_documents_of_the_old_school_server_are_there(host: Host) -> None:
    assert host.file("/library/users/story").content_string == "once upon a time\n"


def test_the_first_run_changed_exactly_what_check_mode_said() -> None:
    assert changed("check") == changed("apply")
    assert any("Make the empty disk a library" in one for one in changed("apply"))
    assert any("Make the image a library" in one for one in changed("apply"))


def test_an_image_takes_its_room_once_and_again_only_where_it_was_given_back() -> None:
    assert not any("Take the room again" in one for one in changed("apply"))
    assert any("Take the room again" in one for one in changed("apply", -1))
