# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed package becomes a .deb again, as it is on the disk, with the real dpkg."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from xo_client import apt

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("dpkg-deb") is None, reason="it installs packages below a directory, as root"
)


def package(top: Path, version: str) -> Path:
    tree = top / f"tree-{version}"
    for name, text in {
        "DEBIAN/control": (
            f"Package: small\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@x.invalid>\n"
            "Description: small\n one\n .\n two\n"
        ),
        "DEBIAN/conffiles": "/etc/small.conf\n",
        "DEBIAN/postinst": "#!/bin/sh\n",
        "DEBIAN/prerm": "#!/bin/sh\n",
        "etc/small.conf": f"of {version}\n",
        "usr/lib/small/program": f"#!/bin/sh\necho {version}\n",
    }.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    for name in ("usr/lib/small/program", "DEBIAN/postinst", "DEBIAN/prerm"):
        (tree / name).chmod(0o755)
    (tree / "usr/lib/small/link").symlink_to("program")
    made = top / f"small_{version}.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, made], check=True, capture_output=True)
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/var/lib/dpkg/info").mkdir(parents=True)
    (tmp_path / "root/var/lib/dpkg/updates").mkdir()
    (tmp_path / "root/var/lib/dpkg/status").touch()
    install(tmp_path / "root", package(tmp_path, "1.0"))
    (tmp_path / "back").mkdir()
    return tmp_path / "root"


def install(root: Path, file: Path) -> None:
    # In no system: its triggers are not for this, and its scripts do nothing.
    forced = "--force-not-root,bad-path,confold,script-chrootless"
    command = ["dpkg", f"--root={root}", forced, "--log=/dev/null", "--install", str(file)]
    subprocess.run(command, check=True, capture_output=True)


def look(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for top in ("usr", "etc"):
        for path in sorted((root / top).rglob("*")):
            name = str(path.relative_to(root))
            mode = path.lstat().st_mode
            is_file = path.is_file() and not path.is_symlink()
            found[name] = (oct(mode), os.readlink(path) if path.is_symlink() else path.read_bytes() if is_file else "")
    return found


def test_the_way_back_leads_to_what_was(root: Path, tmp_path: Path) -> None:
    before = look(root)
    apt.repack("small", tmp_path / "back/small.deb", root)
    install(root, package(tmp_path, "2.0"))
    assert look(root) != before
    install(root, tmp_path / "back/small.deb")
    assert look(root) == before
    said = subprocess.run(
        ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "small"], check=True, capture_output=True, text=True
    )
    assert said.stdout.split() == ["small", "1.0"]
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["small.deb"]


def test_the_way_back_has_the_scripts_and_settings_that_dpkg_knows(root: Path, tmp_path: Path) -> None:
    apt.repack("small", tmp_path / "back/small.deb", root)
    control = tmp_path / "control"
    subprocess.run(["dpkg-deb", "--control", tmp_path / "back/small.deb", control], check=True)
    assert {path.name for path in control.iterdir()} == {"conffiles", "control", "md5sums", "postinst", "prerm"}
    assert (control / "conffiles").read_text() == "/etc/small.conf\n"


def test_what_a_technician_changed_outlives_the_way_back_and_the_version_after(root: Path, tmp_path: Path) -> None:
    (root / "etc/small.conf").write_text("changed\n")
    apt.repack("small", tmp_path / "back/small.deb", root)
    for file in (package(tmp_path, "2.0"), tmp_path / "back/small.deb", package(tmp_path, "3.0")):
        install(root, file)
        assert (root / "etc/small.conf").read_text() == "changed\n"


def test_a_file_that_a_technician_removed_stands_in_no_ones_way(root: Path, tmp_path: Path) -> None:
    (root / "etc/small.conf").unlink()
    apt.repack("small", tmp_path / "back/small.deb", root)
    install(root, tmp_path / "back/small.deb")


def test_without_the_package_there_is_no_way_back(root: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not installed"):
        apt.repack("large", tmp_path / "back/large.deb", root)


def test_what_dpkg_had_noted_when_the_power_went_is_taken_in(root: Path) -> None:
    dpkg = root / "var/lib/dpkg"
    noted = dpkg / "updates/0001"
    noted.write_text((dpkg / "status").read_text().replace("ok installed", "ok unpacked"))
    apt.take_in(root)
    assert not noted.exists(), "with it there apt says that dpkg was interrupted"
    assert "ok unpacked" in (dpkg / "status").read_text()


def test_versions_compare_as_dpkg_has_it() -> None:
    assert apt.is_newer("0.10.0", "0.9.0")
    assert apt.is_newer("0.1.0", "")
    assert not apt.is_newer("0.1.0~rc1", "0.1.0")
    assert not apt.is_newer("0.1.0", "0.1.0")


def test_what_does_not_end_is_ended_with_all_that_it_started() -> None:
    began = time.monotonic()
    ended = apt.run(["sh", "-c", "sleep 60 & sleep 60"], 0.3)
    assert not ended.well
    assert "did not end" in ended.err
    assert time.monotonic() - began < 10
