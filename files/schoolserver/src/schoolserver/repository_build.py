# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes one publication in a directory of its own, and reads it as laptops will before anybody can see it.

apt/        dists/school/ and pool/ (reprepro), InRelease and Release.gpg signed by every key
rpm/        the .rpm and repodata/ (createrepo_c), repomd.xml signed by every key
school.asc  the public keys
install     the script for a fresh laptop, and index.html, the page that says so (handout.py)

There is no by-hash: a laptop that asks for Release just before the switch to another publication and for Packages just
after it is told that the sums do not fit, keeps what it had, and gets all when it asks again. An old index kept by its
sum would only move that to the package, which is no more in the pool.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import format_datetime
from pathlib import Path

from defusedxml import ElementTree

from schoolserver import handout, programs, repository_key, school_package, stamps
from schoolserver.client_package import NAME, Given
from schoolserver.errors import Refusal
from schoolserver.repository_key import Ring
from schoolserver.school_package import Content, School

APT = "apt"
RPM = "rpm"
PUBLIC = "school.asc"
SUITE = "school"
# One package for all of them; laptops ask for the index of their own architecture.
ARCHITECTURES = ("amd64", "arm64", "armhf", "i386")
_DISTRIBUTION = f"""\
Origin: XS school server
Label: XS school server
Codename: {SUITE}
Architectures: {" ".join(ARCHITECTURES)}
Components: main
Description: What this school's laptops install from their school server
"""
_REPOMD = "{http://linux.duke.edu/metadata/repo}"
_PRIMARY = "{http://linux.duke.edu/metadata/common}"


@dataclass(frozen=True)
class Order:
    """What is to be published."""

    given: Given
    push: str  # the public half of the push key
    before: School | None  # the last xo-school
    stamp: str  # what the publication is called, and its date


def build(at: Path, order: Order, ring: Ring) -> School:
    """Make the publication `order` in the empty directory `at`, signed by the keys of `ring`; return its xo-school.

    Raise Refusal or OSError where it cannot be made, or is not what `order` says; `at` is then good for nothing.
    """
    given, made = order.given, stamps.time_of(order.stamp)
    files = _copy(at, given)
    ring.export(at / PUBLIC, armoured=True)
    content = Content((at / PUBLIC).read_text(encoding="utf-8"), order.push)
    school = school_package.make(at / ".work", content, order.before, order.stamp)
    _make_apt(at / APT, at / ".work", [files["deb"], at / ".work" / school.file_name])
    if given.rpm is not None:
        _make_rpm(at / RPM, files)
    shutil.rmtree(at / ".work")
    release = at / APT / "dists" / SUITE / "Release"
    # reprepro asks the clock, which may go back: apt would take nothing that looks older than what it has.
    dated = re.sub(
        r"(?m)^Date: .*$", f"Date: {format_datetime(made, usegmt=True)}", release.read_text(encoding="utf-8")
    )
    release.write_text(dated, encoding="utf-8")
    ring.sign(release, release.with_name("InRelease"), "clear-sign")
    ring.sign(release, release.with_name("Release.gpg"), "detach-sign")
    if given.rpm is not None:
        repomd = at / RPM / "repodata" / "repomd.xml"
        ring.sign(repomd, repomd.with_name("repomd.xml.asc"), "detach-sign")
    handout.write(at, given.deb.version, school.version, ring.fingerprints(), made, rpm=given.rpm is not None)
    check(at, given, school, order.push, ring)
    for path in (at, *at.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        # No two publications of one second: apt asks whether an index was modified since.
        os.utime(path, (made.timestamp(), made.timestamp()))
    return school


def check(at: Path, given: Given, school: School, push: str, ring: Ring) -> None:
    """Raise Refusal unless all signatures and sums of the publication `at` are right, and `given` and `school` is all.

    `school` must have the keys of `ring` and `push`, and no other: laptops would believe whoever has another.
    """
    keyring = ring.home / "public.gpg"
    keyring.unlink(missing_ok=True)
    ring.export(keyring, armoured=False)
    release = at / APT / "dists" / SUITE / "Release"
    signed = [(release.with_name("InRelease"),), (release.with_name("Release.gpg"), release)]
    if given.rpm is not None:
        repomd = at / RPM / "repodata" / "repomd.xml"
        signed.append((repomd.with_name("repomd.xml.asc"), repomd))
    for files in signed:
        if repository_key.signers(keyring, *files) != ring.fingerprints():
            raise Refusal(f"{files[0].name} is not signed by every key")
    packages = {NAME: (given.deb.version, given.deb.digest), school_package.NAME: (school.version, school.digest)}
    _check_apt(at / APT, release, packages)
    (file,) = at.rglob(school.file_name)
    check_school(file, push, ring)
    if given.rpm is not None:
        _check_rpm(at / RPM, given.deb.version, given.rpm.digest)


def check_school(file: Path, push: str, ring: Ring) -> None:
    """Raise Refusal unless the xo-school `file` has the keys of `ring` and the push key `push`, and nothing else."""
    into = ring.home / "xo-school"
    shutil.rmtree(into, ignore_errors=True)
    found = school_package.read(file, into)
    wanted = Content(found.get(school_package.KEYRING, ""), push).files
    if found != wanted:
        raise Refusal(f"{file.name} is not what was to be in it")
    if ring.fingerprints_in(into / school_package.KEYRING) != ring.fingerprints():
        raise Refusal(f"{file.name} has other keys than those that sign")


def _copy(at: Path, given: Given) -> dict[str, Path]:
    (at / ".work").mkdir()
    copies = {}
    for name, package in given.served.items():
        copy = copies[package.kind] = at / ".work" / name
        shutil.copyfile(package.file, copy)
        if _digest(copy) != package.digest:
            raise Refusal(f"{package.file} changed while it was read: try again")
    return copies


def _make_apt(at: Path, work: Path, files: Sequence[Path]) -> None:
    (work / "conf").mkdir()
    (work / "conf" / "distributions").write_text(_DISTRIBUTION, encoding="utf-8")
    # We sign: reprepro would with one key only.
    programs.run("reprepro", "--silent", "--basedir", work, "--outdir", at, "includedeb", SUITE, *files)


def _make_rpm(at: Path, files: dict[str, Path]) -> None:
    at.mkdir()
    files["rpm"].rename(at / files["rpm"].name)
    # What every dnf can read, whichever release of createrepo_c this is.
    programs.run("createrepo_c", "--quiet", "--general-compress-type=gz", "--no-database", at)


def _check_apt(at: Path, release: Path, packages: Mapping[str, tuple[str, str]]) -> None:
    # `packages`: version and SHA-256 by name.
    lines = release.read_text(encoding="utf-8").split("SHA256:\n", 1)[1].splitlines()
    listed = {words[2]: words[0] for line in lines if line.startswith(" ") and len(words := line.split()) == 3}
    for architecture in ARCHITECTURES:
        name = f"main/binary-{architecture}/Packages"
        index = release.parent / name
        if _digest(index) != listed.get(name):
            raise Refusal(f"reprepro's Release does not fit its {name}")
        found = {}
        for paragraph in index.read_text(encoding="utf-8").strip().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line)
            if _digest(at / fields["Filename"]) != fields.get("SHA256"):
                raise Refusal(f"reprepro's {name} does not fit its {fields['Filename']}")
            found[fields.get("Package")] = (fields.get("Version"), fields.get("SHA256"))
        if found != packages:
            raise Refusal(f"reprepro's {name} has other packages than those that were given")


def _check_rpm(at: Path, version: str, digest: str) -> None:
    described = ElementTree.parse(at / "repodata" / "repomd.xml")
    place = described.find(f"{_REPOMD}data[@type='primary']/{_REPOMD}location")
    if place is None:
        raise Refusal("createrepo_c wrote no list of packages")
    listed = ElementTree.fromstring(gzip.decompress((at / place.attrib["href"]).read_bytes()))
    found = [
        (
            package.findtext(f"{_PRIMARY}name"),
            package.findtext(f"{_PRIMARY}arch"),
            getattr(package.find(f"{_PRIMARY}version"), "attrib", {}).get("ver"),
            package.findtext(f"{_PRIMARY}checksum"),
        )
        for package in listed.findall(f"{_PRIMARY}package")
    ]
    if found != [(NAME, "noarch", version, digest)]:
        said = " ".join(str(word) for word in found[0][:3]) if found else "no package"
        raise Refusal(f"the .rpm is {said}, and not {NAME} noarch {version} as the .deb: give two of one build")


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
