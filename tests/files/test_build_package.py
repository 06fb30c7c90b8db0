# SPDX-License-Identifier: GPL-3.0-or-later
"""Each package is built once for the same sources, under a name that says what it is and rises."""

from __future__ import annotations

import itertools
import os
import re
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


class Clone:
    """A clone of the project, as far as a package is made of it."""

    def __init__(self, top: Path) -> None:
        if shutil.which("git") is None:
            pytest.skip("git is not installed")
        self.top = top
        shutil.copytree(FILES, top / "files", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        (top / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n- Pages load.\n")
        (top / ".gitignore").write_text("/build/\n__pycache__/\n")
        self.git("init", "--quiet", "--initial-branch=main")
        self.set_release("0.1.0")
        self.commit("2026-01-02T03:04:05Z")

    def git(self, *arguments: str, at: str = "2026-01-01T00:00:00Z") -> str:
        person = ("-c", "user.name=xs", "-c", "user.email=xs@example.org", "-c", "commit.gpgsign=false")
        environment = {**os.environ, "GIT_COMMITTER_DATE": at, "GIT_CONFIG_GLOBAL": "/dev/null"}
        command = ["git", "-C", str(self.top), *person, *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        return done.stdout.strip()

    def set_release(self, version: str) -> None:
        for name in ("schoolserver", "xo-client"):
            module = self.top / "files" / name / "src" / name.replace("-", "_") / "__init__.py"
            line = f'__version__ = "{version}"'
            module.write_text(re.sub("^__version__ = .*$", line, module.read_text(), flags=re.MULTILINE))

    def change(self, name: str = "files/xo-client/src/xo_client/words.py", text: str = "# more\n") -> Path:
        with (self.top / name).open("a") as file:
            file.write(text)
        return self.top / name

    def commit(self, at: str) -> None:
        """Commit all there is, with the time `at`; its files are of today."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=more", at=at)

    def version(self, name: str = "xo-client") -> str:
        return told(self.top / "files" / "build-package", "--version", name).strip()


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone")


def before_for_dpkg(first: str, second: str) -> bool:
    return subprocess.run(["dpkg", "--compare-versions", first, "lt", second], check=False).returncode == 0


def before_for_rpm(first: str, second: str) -> bool:
    return told("rpm", "--eval", f'%{{lua: print(rpm.vercmp("{first}", "{second}"))}}').strip() == "-1"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two directories of packages: of a release, and of a checkout with its tag."""
    if shutil.which("dpkg-buildpackage") is None or shutil.which("rpmbuild") is None:
        pytest.skip("dpkg-buildpackage or rpmbuild is not installed")
    clone = Clone(tmp_path_factory.mktemp("clone") / "clone")
    person = {f"GIT_{who}_{what}": "xs@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    make = [str(clone.top / "files" / "make-release"), "0.2.0"]
    subprocess.run(make, check=True, capture_output=True, env={**os.environ, **person})
    again = tmp_path_factory.mktemp("again")
    for name in ("schoolserver", "xo-client"):
        told(clone.top / "files" / "build-package", name, again)
    return [clone.top / "build/release/0.2.0", again]


@pytest.fixture(scope="module")
def rpms(built: list[Path]) -> list[Path]:
    """The laptop's package for Fedora, built twice."""
    return [next(directory.glob("*.rpm")) for directory in built]


def test_what_tools_leave_is_no_new_version_and_superseded_packages_go(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    old, recent = output / "schoolserver_0.1.0+old_all.deb", output / "schoolserver_0.1.0+recent_all.deb"
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


def test_a_changed_source_is_a_new_version_and_not_of_the_other_package(clone: Clone) -> None:
    before, other = clone.version(), clone.version("schoolserver")
    clone.change()
    assert clone.version() != before
    assert clone.version("schoolserver") == other


def test_another_way_to_build_is_a_new_version(clone: Clone) -> None:
    before = clone.version()
    clone.change("files/build-package", "# more\n")
    assert clone.version() != before


def test_a_version_says_when_its_sources_were_last_committed_and_which_they_are(clone: Clone) -> None:
    assert re.fullmatch(r"0\.1\.0\+20260102030405\.[0-9a-f]{12}", clone.version())
    clone.change("CHANGELOG.md")
    clone.change("files/schoolserver/src/schoolserver/names.py")
    clone.commit("2026-02-03T04:05:06Z")
    assert clone.version().startswith("0.1.0+20260102030405.")
    assert clone.version("schoolserver").startswith("0.1.0+20260203040506.")


def test_each_machine_calls_a_commit_the_same(clone: Clone, tmp_path: Path) -> None:
    other = tmp_path / "other"
    told("git", "clone", "--quiet", clone.top, other)
    os.utime(other / "files/xo-client/debian/control", (0, 0))
    assert told(other / "files" / "build-package", "--version", "xo-client").strip() == clone.version()


def test_uncommitted_changes_come_after_the_commit_and_before_what_is_committed_later(clone: Clone) -> None:
    changed = clone.change()
    os.utime(changed, (at := 4102444800, at))  # 2100: after all that the test itself writes
    assert clone.version().startswith("0.1.0+21000101000000.")
    changed.unlink()
    assert clone.version() > "0.1.0+20260102030406"  # what was taken away has no time
    clone.git("checkout", "--quiet", "--", ".")
    assert clone.version().startswith("0.1.0+20260102030405.")
    new = clone.change("files/xo-client/units/new.service")
    os.utime(new, (at, at))
    assert clone.version().startswith("0.1.0+21000101000000.")


def test_a_file_older_than_the_commit_does_not_make_the_version_fall(clone: Clone) -> None:
    clone.change()
    clone.commit("2099-01-01T00:00:00Z")
    clone.change()
    assert clone.version().startswith("0.1.0+20990101000000.")


def test_what_tools_leave_does_not_change_the_version(clone: Clone) -> None:
    before = clone.version()
    for left in (".mypy_cache/x.json", "src/xo_client/build/x.py", "src/x.egg-info/PKG-INFO", "src/__pycache__/x.pyc"):
        (clone.top / "files/xo-client" / left).parent.mkdir(parents=True, exist_ok=True)
        (clone.top / "files/xo-client" / left).write_text("x")
    assert clone.version() == before


def test_going_back_to_what_the_sources_were_is_a_higher_version(clone: Clone) -> None:
    first = clone.version()
    clone.change()
    clone.commit("2026-02-03T04:05:06Z")
    second = clone.version()
    clone.git("revert", "--no-edit", "HEAD", at="2026-03-04T05:06:07Z")
    third = clone.version()
    assert third[-12:] == first[-12:]
    assert before_for_dpkg(first, second)
    assert before_for_dpkg(second, third)


def test_a_clone_of_somebody_else_says_the_same(clone: Clone) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    before = clone.version()
    for path in (clone.top, *clone.top.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    assert clone.version() == before


def test_a_released_checkout_is_called_as_the_release_whatever_else_is_in_it(clone: Clone) -> None:
    clone.git("tag", "v0.1.0")
    assert clone.version() == clone.version("schoolserver") == "0.1.0"
    (clone.top / "inventory").mkdir()
    clone.change("inventory/myschool.yml")
    clone.change("CHANGELOG.md")
    clone.commit("2026-02-03T04:05:06Z")  # what no package is made of gives laptops nothing to install
    assert clone.version() == "0.1.0"
    clone.change()
    assert clone.version().startswith("0.1.0+2")
    assert clone.version("schoolserver") == "0.1.0"


def test_an_archive_says_that_it_is_the_release_until_it_is_changed(clone: Clone) -> None:
    shutil.rmtree(clone.top / ".git")
    assert clone.version().startswith("0.1.0+2")
    hash_ = told(clone.top / "files" / "build-package", "--hash", "xo-client").strip()
    (clone.top / "RELEASE").write_text(f"0.1.0 schoolserver 0123\n0.1.0 xo-client {hash_}\n")
    assert clone.version() == "0.1.0"
    assert clone.version("schoolserver").startswith("0.1.0+2")
    os.utime(clone.change(), (at := 4102444800, at))
    assert clone.version().startswith("0.1.0+21000101000000.")


def test_an_archive_in_another_projects_clone_takes_nothing_from_that(clone: Clone) -> None:
    shutil.rmtree(clone.top / ".git")
    outside = ["git", "-C", str(clone.top.parent)]
    subprocess.run([*outside, "init", "--quiet"], check=True)
    subprocess.run(
        [*outside, "-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "x", "--allow-empty"], check=True
    )
    subprocess.run([*outside, "tag", "v0.1.0"], check=True)
    assert clone.version().startswith("0.1.0+2")


def test_dpkg_and_rpm_put_what_came_after_a_release_before_the_next_one(clone: Clone) -> None:
    if shutil.which("dpkg") is None or shutil.which("rpm") is None:
        pytest.skip("dpkg or rpm is not installed")
    first = clone.version()
    clone.change()
    clone.commit("2026-02-03T04:05:06Z")
    rising = ["0.1.0", first, clone.version(), "0.1.1", "0.2.0", "0.10.0"]
    for earlier, later in itertools.combinations(rising, 2):
        assert before_for_dpkg(earlier, later), (earlier, later)
        assert before_for_dpkg(earlier + "-1", later + "-1"), (earlier, later)
        assert before_for_rpm(earlier, later), (earlier, later)


def test_a_release_and_its_checkout_give_the_same_packages_byte_for_byte(built: list[Path]) -> None:
    release, checkout = built
    names = {"schoolserver_0.2.0_all.deb", "xo-client_0.2.0_all.deb", "xo-client-0.2.0-1.noarch.rpm"}
    assert {path.name for path in checkout.iterdir()} == names
    for name in names:
        assert (release / name).read_bytes() == (checkout / name).read_bytes()
    listed = contents(release / "xo-client_0.2.0_all.deb")
    for file in ("/usr/bin/xo-backup", "/usr/bin/xo-restore", "/usr/lib/systemd/user/xo-backup.timer"):
        assert f".{file}\n" in listed


def test_fedoras_package_asks_for_what_fedora_calls_it(rpms: list[Path]) -> None:
    asked = told("rpm", "-qp", "--requires", rpms[0]).splitlines()
    own = {line for line in asked if not line.startswith(("rpmlib(", "/bin/sh"))}
    assert own == {"glib2", "openssh-clients", "python3", "python3 >= 3.8", "rsync >= 3.1.3", "systemd"}
    assert told("rpm", "-qp", "--queryformat", "%{NAME} %{ARCH} %{BUILDHOST}", rpms[0]) == (
        "xo-client noarch schoolserver.invalid"
    )


def test_rpmlint_has_no_complaint_that_we_have_not_explained(rpms: list[Path]) -> None:
    if shutil.which("rpmlint") is None:
        pytest.skip("rpmlint is not installed: make setup")
    said = told("rpmlint", "--config", Path(__file__).with_name("rpmlint.toml"), rpms[0])
    assert "0 errors, 0 warnings" in said, said


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
