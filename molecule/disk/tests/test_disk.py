# SPDX-License-Identifier: GPL-3.0-or-later
"""The library lies on the disk that the inventory names, and a new school server takes it as it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

from testinfra.host import Host

DISK = "/dev/disk/by-id/lab-disk"
RUNS = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"], "build/lab", os.environ["MOLECULE_SCENARIO_NAME"], "changes")


def changed(kind: str) -> list[str]:
    """Return what the first run of site.yml of that kind changed, handlers as well."""
    file = min(RUNS.glob(f"*-{kind}-site.jsonl"))
    notes = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [f"{one['at']}: {one['task']} {one['items']}" for one in notes if one["changed"]]


def test_it_is_mounted_by_its_uuid(host: Host) -> None:
    assert host.mount_point("/library").device == host.check_output(f"readlink {DISK}")
    uuid = host.check_output(f"blkid --probe --output value --match-tag UUID {DISK}")
    assert f"What=/dev/disk/by-uuid/{uuid}" in host.file("/etc/systemd/system/library.mount").content_string


def test_whatever_a_laptop_sends_stays_data(host: Host) -> None:
    assert {"nosuid", "nodev", "noexec", "noatime"} <= set(host.mount_point("/library").options)


def test_the_documents_of_the_old_school_server_are_there(host: Host) -> None:
    assert host.file("/library/users/story").content_string == "once upon a time\n"


def test_nothing_lies_on_the_systems_own_disk(host: Host) -> None:
    assert not host.file("/var/lib/xs-library.img").exists


def test_the_first_run_changed_exactly_what_check_mode_said() -> None:
    assert changed("check") == changed("apply")
    assert any("Make the empty disk a library" in one for one in changed("apply"))
