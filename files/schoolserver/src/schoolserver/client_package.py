# SPDX-License-Identifier: GPL-3.0-or-later
"""What is given to be published: whether it is the laptops' package, whole, and news for them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from schoolserver import programs
from schoolserver.errors import Refusal

NAME = "xo-client"
# The first two bytes of a .deb (ar) and of an .rpm, whatever the file is called.
_KINDS = {b"!<": "deb", b"\xed\xab": "rpm"}

# It becomes a part of names: of files here, of addresses for laptops.
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+~]{0,60}", re.ASCII)


@dataclass(frozen=True)
class Package:
    """A file that can be published."""

    file: Path
    kind: str  # deb or rpm
    version: str  # of an .rpm "": only what is made of it tells
    digest: str  # SHA-256


@dataclass(frozen=True)
class Given:
    """What one publication is made of."""

    deb: Package
    rpm: Package | None = None

    @property
    def served(self) -> dict[str, Package]:
        """The packages by the names that they are served under."""
        names = {f"{NAME}_{self.deb.version}_all.deb": self.deb}
        if self.rpm is not None:
            names[f"{NAME}-{self.deb.version}.noarch.rpm"] = self.rpm
        return names

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file that is served."""
        return {name: package.digest for name, package in self.served.items()}


def read(file: Path) -> Package:
    """Look into `file` to its end; raise Refusal where it is not the laptops' package or not whole."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Refusal(f"{file} cannot be read: {error.strerror}") from error
    kind = _KINDS.get(content[:2])
    if kind is None:
        raise Refusal(f"{file} is no package: give the .deb and the .rpm that `make package` leaves in build/")
    # Half a file has a good head as well: both programs unpack all of it.
    version = _deb_version(file) if kind == "deb" else _rpm_is_whole(file)
    return Package(file, kind, version, hashlib.sha256(content).hexdigest())


def together(packages: Sequence[Package]) -> Given:
    """Return what is published of `packages`; raise Refusal unless they are one .deb, and one .rpm or none."""
    debs, rpms = ([one for one in packages if one.kind == kind] for kind in ("deb", "rpm"))
    for found in (debs, rpms):
        if len(found) > 1:
            raise Refusal(f"{found[0].file} and {found[1].file}: give one of them, laptops get one version")
    if not debs:
        raise Refusal(f"there is no .deb of {NAME} among the files: give that, and the .rpm beside it")
    return Given(debs[0], rpms[0] if rpms else None)


def is_news(
    given: Given,
    version: str,
    digests: Mapping[str, str],
    newer: Callable[[str, str], bool],
    *,
    older_too: bool,
) -> bool:
    """Say whether `given` is other than the published `version` with `digests`; raise Refusal for what laptops ignore.

    `newer(a, b)` says whether the version a comes after b.
    """
    if given.digests == digests:
        return False
    new = given.deb.version
    if new == version:
        if any(digests.get(name, digest) != digest for name, digest in given.digests.items()):
            raise Refusal(f"another {NAME} {new} is published: laptops would not take this one, give it a new version")
        return True
    if older_too or newer(new, version):
        return True
    raise Refusal(
        f"{NAME} {new} is older than {version}, which is published: laptops take newer ones only; "
        "`xs repository withdraw` goes back, --older-too publishes it for new laptops"
    )


def comes_after(version: str, other: str) -> bool:
    """Say whether Debian's order puts `version` after `other`; raise Refusal when it cannot be told."""
    if version == other:
        return False
    try:
        programs.run("dpkg", "--compare-versions", version, "gt", other)
    except Refusal:
        programs.run("dpkg", "--compare-versions", version, "lt", other)
        return False
    return True


def _deb_version(file: Path) -> str:
    told = programs.run("dpkg-deb", "--field", file, "Package", "Version", "Architecture")
    fields = dict(line.split(": ", 1) for line in told.splitlines() if ": " in line)
    if (fields.get("Package"), fields.get("Architecture")) != (NAME, "all"):
        raise Refusal(f"{file} is {fields.get('Package')} for {fields.get('Architecture')}: only {NAME} is published")
    if not _VERSION.fullmatch(fields.get("Version", "")):
        raise Refusal(f"{file} has the version {fields.get('Version')!r}: give it one that Fedora takes as well")
    try:
        programs.run("dpkg-deb", "--fsys-tarfile", file, shown=False)
    except Refusal as error:
        raise Refusal(f"{file} is not whole ({error}): copy it again") from error
    return fields["Version"]


def _rpm_is_whole(file: Path) -> str:
    try:
        programs.run("rpm2cpio", file, shown=False)
    except Refusal as error:
        raise Refusal(f"{file} is not whole ({error}): copy it again") from error
    return ""
