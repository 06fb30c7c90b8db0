# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine lacks is one line that says what to do: run for real, as nobody or with a PATH that has nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lab import alone, places, preflight
from lab.trouble import Trouble

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of what setup.sh needs, where nothing is set up."""
    (tmp_path / "molecule" / "shared").mkdir(parents=True)
    for name in ("molecule/shared/setup.sh", "molecule/shared/machine.packages", "requirements.lock"):
        shutil.copy(places.PROJECT / name, tmp_path / name)
    return tmp_path


def path_with(directory: Path, *programs: str) -> str:
    (directory / "bin").mkdir()
    for program in programs:
        (directory / "bin" / program).symlink_to(shutil.which(program) or program)
    return str(directory / "bin")


def test_a_machine_without_apt_is_told_so(clone: Path) -> None:
    done = run(
        f"{clone}/molecule/shared/setup.sh", "lab", PATH=path_with(clone, "sh", "dirname", "date", "sed", "grep")
    )
    assert done.returncode == 1
    assert done.stderr == "setup: this machine has no apt: use Debian 12, or a virtual machine with it\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
@pytest.mark.parametrize(("entry", "package"), [("no-such-package", "no-such-package"), ("apt>=999", "apt")])
def test_packages_are_missing_or_too_old_and_nobody_asks_for_them(clone: Path, entry: str, package: str) -> None:
    with (clone / "molecule/shared/machine.packages").open("a", encoding="utf-8") as file:
        file.write(f"{entry}\n")
    clone.chmod(0o777)
    parent = clone
    while parent != Path("/"):
        parent.chmod(parent.stat().st_mode | 0o001)
        parent = parent.parent
    done = run(*NOBODY, f"{clone}/molecule/shared/setup.sh", "lab", MAKECMDGOALS="lab")
    assert done.returncode == 1
    assert done.stderr == f"setup: run as root: sudo make lab (to install: {package})\n"


def test_who_is_not_root_is_told_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Trouble, match=r"^run as root: sudo make lab$"):
        preflight.check("lab", set())


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("podman"), reason="needs root and podman")
def test_too_little_disk_is_told_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=3 * preflight.GIB // 2))
    with pytest.raises(Trouble, match=r"^\d+ GiB free are needed below .*, there are 1\.5: make room there$"):
        preflight.check("lab", set())


def test_a_second_run_in_the_same_lab_is_told_that_one_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "BUILD", tmp_path)
    with alone.run("one"):
        with alone.run("other"):
            pass
        with pytest.raises(Trouble, match="another run is under way in the lab one"), alone.run("one"):
            pass
    with alone.run("one"):
        pass
