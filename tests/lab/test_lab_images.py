# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from lab import images, places
from lab.images import Image, debian_sources
from lab.trouble import Trouble

DEB822 = """\
# a remark
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://mirror.example/debian
Suites: bookworm-backports
Components: main

Enabled: no
Types: deb
URIs: http://other.example/debian
Suites: bookworm
Components: main
"""
ONE_LINE = """\
deb cdrom:[Debian GNU/Linux 12]/ bookworm main
deb [arch=amd64 signed-by=/a/key.gpg] http://mirror.example/debian bookworm main # near
deb-src http://mirror.example/debian bookworm main
deb http://vendor.example/apt cloud-sdk-bookworm main
deb
"""


def test_a_hosts_packages_come_from_where_this_machines_come_from() -> None:
    assert debian_sources("bookworm", "bookworm", {"debian.sources": DEB822}) == [
        "deb http://mirror.example/debian bookworm main contrib",
        "deb http://mirror.example/debian bookworm-updates main contrib",
        "deb http://security.example/debian-security bookworm-security main",
    ]


def test_old_source_lines_are_read_and_foreign_ones_left_out() -> None:
    assert debian_sources("bookworm", "bookworm", {"sources.list": ONE_LINE}) == [
        "deb http://mirror.example/debian bookworm main"
    ]


def test_another_release_comes_from_the_same_mirror() -> None:
    assert debian_sources("trixie", "bookworm", {"sources.list": ONE_LINE}) == [
        "deb http://mirror.example/debian trixie main"
    ]


def test_a_machine_without_debian_sources_has_none() -> None:
    assert debian_sources("bookworm", "bookworm", {"sources.list": "deb http://v.example/apt stable main"}) == []


def test_an_image_takes_suite_and_packages_of_the_one_it_builds_on(tmp_path: Path) -> None:
    (tmp_path / "bare.packages").write_text("# bare\nsuite: bookworm\nsystemd dbus # two\n\n", encoding="utf-8")
    (tmp_path / "laptop.packages").write_text("from: bare\nrsync\ndbus\n", encoding="utf-8")
    assert images.load("laptop", tmp_path) == Image("laptop", "bookworm", ("systemd", "dbus", "rsync"))


@pytest.mark.parametrize("text", ["from: bare\nsuite: trixie\n", "suite: trixie\nfrom: bare\n"])
def test_an_image_can_be_the_same_host_of_another_release(tmp_path: Path, text: str) -> None:
    (tmp_path / "bare.packages").write_text("suite: bookworm\nsystemd\n", encoding="utf-8")
    (tmp_path / "newer.packages").write_text(text, encoding="utf-8")
    assert images.load("newer", tmp_path) == Image("newer", "trixie", ("systemd",))


def test_an_image_that_says_no_suite_is_refused_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "odd.packages").write_text("systemd\n", encoding="utf-8")
    with pytest.raises(Trouble, match=r"odd\.packages.*suite"):
        images.load("odd", tmp_path)
    with pytest.raises(Trouble, match="no image other"):
        images.load("other", tmp_path)


def test_the_tag_changes_with_whatever_goes_in() -> None:
    image = Image("bare", "bookworm", ("systemd",))
    assert image.tag(["deb a"]) == image.tag(["deb a"])
    others = [Image("bare", "trixie", ("systemd",)), Image("bare", "bookworm", ("systemd", "dbus"))]
    assert len({image.tag(["deb a"]), image.tag(["deb b"]), *(other.tag(["deb a"]) for other in others)}) == 4


@pytest.mark.parametrize("file", sorted(places.IMAGES.glob("*.packages")), ids=lambda file: file.stem)
def test_every_image_of_the_project_can_be_read_and_boots_with_ssh_and_python(file: Path) -> None:
    assert {"systemd-sysv", "openssh-server", "python3"} <= set(images.load(file.stem).packages)
