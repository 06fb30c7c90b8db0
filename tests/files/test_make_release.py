# SPDX-License-Identifier: GPL-3.0-or-later
"""A release is all or nothing: from a clean main, with a higher version and something to tell."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

FILES = Path(__file__).parents[2] / "files"
CHANGELOG = "# Changelog\n\nWhat changed.\n\n## Unreleased\n\n- Pages load.\n\n## 0.1.0 (2026-11-26)\n\n- The first.\n"
# Stands for the real one, which takes a minute; test_build_package.py has that make a release.
BUILD = """#!/bin/sh
set -e
cd "$(dirname "$0")/.."
[ "$1" != --hash ] || { echo abc; exit; }
grep -h __version__ files/*/src/*/__init__.py RELEASE >"$2/$1.deb"
"""
PERSON = {f"GIT_{who}_{what}": "xs@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
# What a developer's own git is told must not matter.
ALONE = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}


def load() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("make_release", str(FILES / "make-release"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("make_release", loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    return module


release = load()


class Clone:
    """A clone of a small project that has all a release looks at."""

    def __init__(self, top: Path) -> None:
        self.top = top
        for name in ("schoolserver", "xo-client"):
            self.write(f"files/{name}/src/{name.replace('-', '_')}/__init__.py", '"""It."""\n\n__version__ = "0.1.0"\n')
        self.write("CHANGELOG.md", CHANGELOG)
        self.write(".gitignore", "/build/\n")
        self.write("files/build-package", BUILD).chmod(0o755)
        shutil.copy(FILES / "make-release", top / "files")
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()
        self.git("tag", "v0.1.0")

    def write(self, name: str, text: str) -> Path:
        (self.top / name).parent.mkdir(parents=True, exist_ok=True)
        (self.top / name).write_text(text)
        return self.top / name

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.top), *arguments]
        environment = {**os.environ, **PERSON, **ALONE}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return done.stdout.strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=more")

    def release(self, version: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.top / "files" / "make-release"), version]
        environment = {**os.environ, **PERSON, **ALONE}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    def state(self) -> tuple[str, str, list[str]]:
        """All that a release may change."""
        made = sorted(str(path.relative_to(self.top)) for path in self.top.glob("build/release/*"))
        return self.git("log", "--oneline", "--all", "--decorate"), self.git("status", "--porcelain"), made


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    return Clone(tmp_path / "clone")


def test_a_release_has_packages_archive_sums_and_notes_and_is_tagged(clone: Clone) -> None:
    done = clone.release("0.2.0")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "release: 0.2.0 is committed and tagged; send that out: git push origin main v0.2.0",
        "release: then publish the files of build/release/0.2.0/, with release-notes.md as the text",
    ]
    made = clone.top / "build/release/0.2.0"
    packed = {"schoolserver.deb", "xo-client.deb", "xs-0.2.0.tar.gz"}
    assert {path.name for path in made.iterdir()} == {*packed, "SHA256SUMS", "release-notes.md"}
    assert (made / "release-notes.md").read_text() == "- Pages load.\n"
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=made, check=True)
    assert len((made / "SHA256SUMS").read_text().splitlines()) == len(packed)
    assert clone.git("log", "-1", "--format=%s") == "Release 0.2.0"
    assert clone.git("cat-file", "-t", "v0.2.0") == "tag"
    assert clone.git("rev-parse", "v0.2.0^{commit}") == clone.git("rev-parse", "main")
    assert clone.git("status", "--porcelain") == ""
    assert '__version__ = "0.2.0"' in (clone.top / "files/xo-client/src/xo_client/__init__.py").read_text()


def test_the_packages_are_built_from_the_archive_which_says_that_it_is_the_release(clone: Clone) -> None:
    assert clone.release("0.2.0").returncode == 0
    made = clone.top / "build/release/0.2.0"
    assert (made / "xo-client.deb").read_text().count('__version__ = "0.2.0"') == 2
    with tarfile.open(made / "xs-0.2.0.tar.gz") as archive:
        assert all(name.split("/")[0] == "xs-0.2.0" for name in archive.getnames())
        told = archive.extractfile("xs-0.2.0/RELEASE")
        assert told is not None
        assert told.read() == b"0.2.0 schoolserver abc\n0.2.0 xo-client abc\n"


def test_the_next_release_tells_of_what_came_since(clone: Clone) -> None:
    assert clone.release("0.2.0").returncode == 0
    assert "says nothing under `## Unreleased`" in clone.release("0.3.0").stderr
    text = (clone.top / "CHANGELOG.md").read_text()
    clone.write("CHANGELOG.md", text.replace("Nothing yet.", "- Less memory."))
    clone.commit()
    assert clone.release("0.3.0").returncode == 0
    assert (clone.top / "build/release/0.3.0/release-notes.md").read_text() == "- Less memory.\n"


def dirty(clone: Clone) -> None:
    clone.write("CHANGELOG.md", CHANGELOG + "more")
    clone.write("new file", "")


def branch(clone: Clone) -> None:
    clone.git("checkout", "--quiet", "-b", "other")


def no_section(clone: Clone) -> None:
    clone.write("CHANGELOG.md", CHANGELOG.replace("Unreleased", "Soon"))
    clone.commit()


def another(clone: Clone) -> None:
    clone.write("CHANGELOG.md", CHANGELOG.replace("Unreleased", "Unreleased (1.0.0)"))
    clone.commit()


def no_build(clone: Clone) -> None:
    clone.write("files/build-package", '#!/bin/sh\n[ "$1" = --hash ] || { echo "rpmbuild is missing" >&2; exit 1; }\n')
    clone.commit()


def no_clone(clone: Clone) -> None:
    (clone.top / ".git").rename(clone.top / "away")


def nothing(clone: Clone) -> None:
    """All is well with the clone."""


@pytest.mark.parametrize(
    ("spoil", "version", "why"),
    [
        (dirty, "0.2.0", "not committed: CHANGELOG.md, \"new file\"; do that first"),
        (branch, "0.2.0", "the branch is other: a release is made from main"),
        (no_section, "0.2.0", "CHANGELOG.md has no section `## Unreleased`"),
        (another, "0.2.0", "CHANGELOG.md calls what comes next 1.0.0, not 0.2.0"),
        (no_build, "0.2.0", "build-package failed, nothing is changed: rpmbuild is missing"),
        (nothing, "0.1.0", "0.1.0 is released: the tag v0.1.0 is there"),
        (nothing, "0.0.9", "0.0.9 is not above 0.1.0"),
        (nothing, "", "nothing is no version"),
        (nothing, "v0.2", "v0.2 is no version"),
        (nothing, "0.2.0; reboot", "0.2.0; reboot is no version"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)  # fmt: skip
def test_what_is_not_right_is_one_line_and_changes_nothing(
    clone: Clone, spoil: Callable[[Clone], None], version: str, why: str
) -> None:
    spoil(clone)
    before = clone.state()
    done = clone.release(version)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"release: {why}")
    assert done.stderr.count("\n") == 1
    assert clone.state() == before


def test_what_is_no_clone_is_refused(clone: Clone) -> None:
    no_clone(clone)
    done = clone.release("0.2.0")
    assert "is no clone of the project" in done.stderr
    assert done.returncode == 1


def test_a_branch_that_cannot_move_leaves_no_tag_and_no_files(clone: Clone) -> None:
    # git refuses the merge while another git holds the index.
    clone.write(".git/index.lock", "")
    before = clone.git("for-each-ref"), clone.git("rev-parse", "HEAD")
    assert clone.release("0.2.0").returncode == 1
    (clone.top / ".git/index.lock").unlink()
    assert (clone.git("for-each-ref"), clone.git("rev-parse", "HEAD")) == before
    assert not list((clone.top / "build/release").iterdir())
    assert clone.release("0.2.0").returncode == 0


def test_a_clone_of_somebody_else_is_taken(clone: Clone) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    for path in (clone.top, *clone.top.rglob("*")):
        os.chown(path, 65534, 65534)
    done = clone.release("0.2.0")
    assert (done.returncode, done.stderr) == (0, "")


def test_versions_are_compared_as_numbers() -> None:
    release.check_version("0.10.0", ["v0.9.0", "v0.1.0", "vendor"])
    with pytest.raises(release.Refusal, match=r"0\.9\.1 is not above 0\.10\.0"):
        release.check_version("0.9.1", ["v0.9.0", "v0.10.0"])


def test_the_changelog_gets_an_empty_section_above_the_release() -> None:
    text, notes = release.released_changelog(CHANGELOG, "0.2.0", "2026-12-01")
    assert "## Unreleased\n\nNothing yet.\n\n## 0.2.0 (2026-12-01)\n\n- Pages load.\n\n## 0.1.0 (2026-11-26)" in text
    assert notes == "- Pages load.\n"


def test_the_first_release_takes_the_version_that_the_changelog_foretold() -> None:
    text, notes = release.released_changelog("# Log\n\n## Unreleased (0.1.0)\n\nAll.\n", "0.1.0", "2026-12-01")
    assert text == "# Log\n\n## Unreleased\n\nNothing yet.\n\n## 0.1.0 (2026-12-01)\n\nAll.\n"
    assert notes == "All.\n"


def test_the_projects_own_changelog_has_the_section_that_a_release_takes() -> None:
    text = (FILES.parent / "CHANGELOG.md").read_text()
    assert sum(line.startswith("## Unreleased") for line in text.splitlines()) == 1
    assert "## Unreleased\n\nNothing yet.\n" in text or release.released_changelog(
        text.replace("Unreleased (0.1.0)", "Unreleased"), "9.0.0", "2030-01-01"
    )
