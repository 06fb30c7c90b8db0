# SPDX-License-Identifier: GPL-3.0-or-later
"""Each Debian package is built once for the same sources, whatever tools left between them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

FILES = Path(__file__).parents[2] / "files"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    if shutil.which("dpkg-buildpackage") is None:
        pytest.skip("dpkg-buildpackage is not installed")
    return shutil.copytree(FILES, tmp_path / "files", ignore=shutil.ignore_patterns("__pycache__")) / "schoolserver"


def build(source: Path, output: Path) -> Path:
    command = [str(source.parent / "build-package"), source.name, str(output)]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def contents(package: Path) -> str:
    return subprocess.run(["dpkg", "--contents", str(package)], check=True, capture_output=True, text=True).stdout


def test_what_tools_leave_is_no_new_version_and_superseded_packages_go(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    old, recent = output / "schoolserver_0.1.0+src.old_all.deb", output / "schoolserver_0.1.0+src.recent_all.deb"
    for package in (old, recent):
        package.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    for left in (".mypy_cache/x.json", ".ruff_cache/x", "src/schoolserver/build/x.py", "src/x.egg-info/PKG-INFO"):
        (source / left).parent.mkdir(parents=True, exist_ok=True)
        (source / left).write_text("x")
    built = build(source, output)
    assert {package.name for package in output.iterdir()} == {built.name, recent.name}
    assert "schoolserver/build" not in contents(built)
    for left in (".mypy_cache", ".ruff_cache", "src/schoolserver/build", "src/x.egg-info"):
        shutil.rmtree(source / left)
    at = built.stat().st_mtime_ns
    assert build(source, output) == built
    assert built.stat().st_mtime_ns == at


def test_a_changed_source_is_a_new_version(source: Path, tmp_path: Path) -> None:
    script = (source.parent / "build-package").read_text()
    (source.parent / "build-package").write_text(script.replace('if [ ! -e "$package" ]', "if false"))  # names it only
    before = build(source, tmp_path)
    with (source / "src" / "schoolserver" / "names.py").open("a") as module:
        module.write("# more\n")
    assert build(source, tmp_path) != before


def test_the_laptops_package_is_the_same_bytes_each_time(source: Path, tmp_path: Path) -> None:
    client = source.parent / "xo-client"
    first, second = (build(client, tmp_path / name) for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    listed = contents(first)
    for file in ("/usr/bin/xo-backup", "/usr/bin/xo-restore", "/usr/lib/systemd/user/xo-backup.timer"):
        assert f".{file}\n" in listed
