# SPDX-License-Identifier: GPL-3.0-or-later
"""Each package is built once for the same sources, whatever tools left between them."""

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


def told(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def build_all(source: Path, output: Path) -> list[Path]:
    return [Path(line) for line in told(source.parent / "build-package", source.name, output).splitlines()]


def build(source: Path, output: Path) -> Path:
    return build_all(source, output)[0]


def contents(package: Path) -> str:
    return told("dpkg", "--contents", package)


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The laptop's package for Fedora, built twice."""
    if shutil.which("dpkg-buildpackage") is None or shutil.which("rpmbuild") is None:
        pytest.skip("dpkg-buildpackage or rpmbuild is not installed")
    return [build_all(FILES / "xo-client", tmp_path_factory.mktemp(name))[1] for name in ("first", "second")]


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


def test_the_laptops_package_for_fedora_is_the_same_bytes_each_time(rpms: list[Path]) -> None:
    first, second = rpms
    assert first != second
    assert first.read_bytes() == second.read_bytes()


def test_fedoras_package_asks_for_what_fedora_calls_it(rpms: list[Path]) -> None:
    asked = told("rpm", "-qp", "--requires", rpms[0]).splitlines()
    own = {line for line in asked if not line.startswith(("rpmlib(", "/bin/sh"))}
    assert own == {"glib2", "openssh-clients", "python3", "python3 >= 3.8", "rsync >= 3.1.3", "systemd"}
    assert told("rpm", "-qp", "--queryformat", "%{NAME} %{ARCH} %{BUILDHOST}", rpms[0]) == (
        "xo-client noarch schoolserver.invalid"
    )


def test_both_packages_bring_the_same_files(rpms: list[Path]) -> None:
    deb = next(rpms[0].parent.glob("*.deb"))
    in_deb = {line.split()[5].removeprefix(".") for line in contents(deb).splitlines() if not line.startswith("d")}
    in_rpm = set(told("rpm", "-qp", "--queryformat", "[%{FILENAMES} %{FILEMODES:perms}\n]", rpms[0]).splitlines())
    files = {line.split()[0] for line in in_rpm if not line.split()[1].startswith("d")}
    modules = "/usr/lib/python3/dist-packages/xo_client"
    expected = {
        file.replace(modules + "/", "/usr/lib/xo-client/xo_client/")
        for file in in_deb
        if not file.startswith(("/usr/share/doc/", modules + "-"))
    }
    assert files == expected


def test_what_rpm_unpacks_runs_where_no_other_python_module_of_ours_is(rpms: list[Path], tmp_path: Path) -> None:
    if shutil.which("bwrap") is None or shutil.which("cpio") is None:
        pytest.skip("bubblewrap or cpio is not installed")
    root = tmp_path / "root"
    root.mkdir()
    packed = subprocess.run(["rpm2cpio", rpms[0]], check=True, capture_output=True).stdout
    subprocess.run(["cpio", "-idm", "--quiet"], cwd=root, input=packed, check=True)
    # A root directory with this package, the system's Python and nothing else of /usr.
    python = Path("/usr/bin/python3").resolve()
    triplet = f"/usr/lib/{os.uname().machine}-linux-gnu"
    shown = [f"/usr/lib/{python.name}", triplet, "/usr/lib64", str(python)]
    jail = ["bwrap", "--unshare-all", "--bind", str(root / "usr"), "/usr", "--proc", "/proc", "--dev", "/dev"]
    for path in shown:
        jail += ["--ro-bind", path, path]
    jail += ["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--tmpfs", "/run"]
    (root / "usr/bin/python3").symlink_to(python.name)
    assert told(*jail, "/usr/bin/xo-backup", "--version").startswith("xo-backup 0.")
    assert "xo-restore" in told(*jail, "/usr/bin/xo-restore", "--help")
    told(*jail, "/usr/bin/python3", "-m", "compileall", "-q", "/usr/lib/xo-client")
    told(*jail, "--dir", "/run/xo-client", "/usr/lib/xo-client/serial")
