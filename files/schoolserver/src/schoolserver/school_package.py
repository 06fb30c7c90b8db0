# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes xo-school, the package by which this school's laptops know where to update from and whom to believe.

It is a part of every publication and signed with it, so that a new key comes to laptops under the old one's signature,
by their ordinary update. The same content gives the same bytes and keeps its version; other content gets a version made
of the publication's time, which never goes back.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from schoolserver import programs, stamps
from schoolserver.errors import Refusal

NAME = "xo-school"
KEYRING = "usr/share/keyrings/xo-school.asc"
SOURCES = "etc/apt/sources.list.d/xo-school.sources"
PUSH_KEYS = "usr/share/xo-school/push-keys"
_SOURCES = f"""\
# This school's server. The package {NAME} replaces this file.
Types: deb
URIs: http://schoolserver/client/apt
Suites: school
Components: main
Signed-By: /{KEYRING}
"""
_CONTROL = f"""\
Package: {NAME}
Version: %s
Architecture: all
Section: education
Priority: optional
Maintainer: The XS founders <xs@schoolserver.invalid>
Enhances: xo-client
Description: where this school's laptops get their updates
 The address of the school's server, the keys that sign what it gives out, and
 the key by which it may ask a laptop to update at once. Made by that server.
"""


@dataclass(frozen=True)
class Content:
    """What laptops get to know."""

    keys: str  # the public keys that sign, armoured
    push: str  # the public half of the push key: type and key

    @property
    def files(self) -> dict[str, str]:
        """The package's files, by path."""
        # `restrict` here as well as in sshd's settings on the laptop: one of the two may be changed there by hand.
        return {KEYRING: self.keys, SOURCES: _SOURCES, PUSH_KEYS: f"restrict {self.push}\n"}


@dataclass(frozen=True)
class School:
    """One xo-school package."""

    version: str
    digest: str  # SHA-256

    @property
    def file_name(self) -> str:
        """What the package's file is called."""
        return f"{NAME}_{self.version}_all.deb"


def version_of(stamp: str) -> str:
    """Return the version of a package that is new in the publication `stamp`: 2026-11-23T101500Z is 20261123101500."""
    return re.sub(r"\D", "", stamp)


def make(at: Path, content: Content, before: School | None, stamp: str) -> School:
    """Make the package of `content` in the directory `at`, which gets the file and leftovers; raise Refusal, OSError.

    It is `before` once more where the content is the same, else a new one of the publication `stamp`.
    """
    if before is not None:
        again = _build(at, content, before.version)
        if again == before:
            return again
    return _build(at, content, version_of(stamp))


def read(file: Path, into: Path) -> dict[str, str]:
    """Unpack the package `file` into the new directory `into`; return its files by path; raise Refusal or OSError."""
    programs.run("dpkg-deb", "--extract", file, into)
    found = (path for path in sorted(into.rglob("*")) if not path.is_dir() or path.is_symlink())
    return {str(path.relative_to(into)): path.read_text(encoding="utf-8") for path in found}


def kind() -> str:
    """Return a digest of what makes the package besides the keys: another one means that it is to be made anew."""
    return hashlib.sha256((_SOURCES + _CONTROL).encode()).hexdigest()


def _build(at: Path, content: Content, version: str) -> School:
    tree = at / version
    control = {"DEBIAN/control": _CONTROL % version}
    for name, text in (content.files | control).items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    try:
        made = int(stamps.time_of(f"{version[:4]}-{version[4:6]}-{version[6:8]}T{version[8:]}Z").timestamp())
    except ValueError as error:
        raise Refusal(f"publication.json has {version} as the version of {NAME}: no such version was made") from error
    for path in (tree, *tree.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (made, made))
    file = at / f"{NAME}_{version}_all.deb"
    # What each dpkg since 2012 unpacks, whatever this one would choose.
    programs.run(
        "env", f"SOURCE_DATE_EPOCH={made}", "dpkg-deb", "-Zxz", "--root-owner-group", "--build", tree, file
    )  # fmt: skip
    return School(version, hashlib.sha256(file.read_bytes()).hexdigest())
