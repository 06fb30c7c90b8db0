# SPDX-License-Identifier: GPL-3.0-or-later
"""Host images out of Debian packages, with no image registry: mmdebstrap | podman import.

An image is a file images/<name>.packages: `suite: <codename>` or `from: <other image>` (its packages as well, and its
suite where none is named), then one Debian package a line; # starts a comment.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab import places
from lab.trouble import Trouble, call, last_words, succeeds

LABEL = "xs-lab-image"
# Nobody reads manuals in a lab host, and the machine below it does not lose power.
OPTIONS = (
    "--variant=minbase",
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    '--aptopt=Apt::Install-Recommends "false"',
    # A container has no modules of its own: without the mask a Debian 13 host never gets beyond "degraded".
    "--customize-hook=ln -sf /dev/null $1/etc/systemd/system/systemd-modules-load.service",
    # A lab host has no screen, and the machine's is none of its business.
    "--customize-hook=ln -sf /dev/null $1/etc/systemd/system/getty@.service",
    # What a host installs must install as on a real machine, with recommended packages.
    "--customize-hook=rm -f $1/etc/apt/apt.conf.d/99mmdebstrap",
)


@dataclass(frozen=True)
class Image:
    """What an image is made of."""

    name: str
    suite: str
    packages: tuple[str, ...]

    def tag(self, sources: list[str]) -> str:
        """Return the podman name of this image: it changes when anything that goes into it does."""
        parts = "\n".join([self.suite, *self.packages, *OPTIONS, *sources])
        return f"localhost/xs-{self.name}:{hashlib.sha256(parts.encode()).hexdigest()[:12]}"


def load(name: str, directory: Path = places.IMAGES) -> Image:
    """Return the image that `directory`/<name>.packages describes; raise Trouble if it cannot be read."""
    file = directory / f"{name}.packages"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise Trouble(f"no image {name}: {file} is not there") from error
    suite = ""
    packages: list[str] = []
    for line in (line.split("#")[0].strip() for line in lines):
        key, colon, value = line.partition(":")
        if colon and key == "suite":
            suite = value.strip()
        elif colon and key == "from":
            base = load(value.strip(), directory)
            suite, packages = suite or base.suite, [*base.packages, *packages]
        elif line:
            packages += line.split()
    if not suite:
        raise Trouble(f"{file}: says neither `suite:` nor `from:`")
    return Image(name, suite, tuple(dict.fromkeys(packages)))


def debian_sources(suite: str, codename: str, sources: dict[str, str]) -> list[str]:
    """Return the `deb` lines of Debian itself for `suite`.

    `sources` is the text of the machine's own source files by name, `codename` the machine's release. Other archives
    (their suites are not named after the release) do not belong into a host.
    """
    pockets = {codename: suite} | {f"{codename}-{pocket}": f"{suite}-{pocket}" for pocket in ("updates", "security")}
    lines: list[str] = []
    for name, text in sorted(sources.items()):
        for uri, given, components in _deb822(text) if name.endswith(".sources") else _one_line(text):
            if given in pockets and not uri.startswith("cdrom:"):
                lines.append(f"deb {uri} {pockets[given]} {components}")
    return list(dict.fromkeys(lines))


def _one_line(text: str) -> list[tuple[str, str, str]]:
    found = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words[:1] != ["deb"]:
            continue
        words = words[1:]
        if words and words[0].startswith("["):
            while words and not words.pop(0).endswith("]"):
                pass
        if len(words) >= 3:
            found.append((words[0], words[1], " ".join(words[2:])))
    return found


def _deb822(text: str) -> list[tuple[str, str, str]]:
    found = []
    for stanza in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in stanza.splitlines():
            key, colon, value = line.partition(":")
            if colon and not line.startswith(("#", " ")):
                fields[key.strip().lower()] = value.strip()
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() != "no":
            for uri in fields.get("uris", "").split():
                found += [(uri, suite, fields.get("components", "")) for suite in fields.get("suites", "").split()]
    return found


def machine_sources(suite: str) -> list[str]:
    """Return this machine's own Debian sources, turned to `suite`; raise Trouble if it has none."""
    files = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    texts = {
        file.name: file.read_text(encoding="utf-8")
        for file in files
        if file.suffix in {".list", ".sources"} and file.is_file()
    }
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    lines = debian_sources(suite, codename, texts)
    if not lines:
        raise Trouble(
            f"no Debian source for {codename or 'this machine'} in /etc/apt: add one to /etc/apt/sources.list"
        )
    return lines


def tag(name: str) -> str:
    """Return what podman calls the image `name`, whether it is built or not."""
    image = load(name)
    return image.tag(machine_sources(image.suite))


def ensure(name: str) -> str:
    """Return the tag of the image `name`, building it if this machine has not got it yet."""
    image = load(name)
    sources = machine_sources(image.suite)
    tag = image.tag(sources)
    if not succeeds("podman", "image", "exists", tag):
        _build(image, sources, tag)
        for old in call("podman", "images", "-q", "--filter", f"label={LABEL}={name}").split():
            if old not in call("podman", "images", "-q", tag):
                call("podman", "rmi", old, check=False)
    return tag


def _build(image: Image, sources: list[str], tag: str) -> None:
    places.LOGS.mkdir(parents=True, exist_ok=True)
    log = places.LOGS / f"image-{image.name}.log"
    proxy = call("apt-config", "dump", "Acquire::http::Proxy", check=False)
    options = [*OPTIONS, *([f"--aptopt={proxy}"] if proxy else [])]
    command = ["mmdebstrap", *options, f"--include={','.join(image.packages)}", image.suite, "-", *sources]
    with log.open("w", encoding="utf-8") as errors:
        make = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        take = subprocess.run(
            ["podman", "import", "--change", f"LABEL {LABEL}={image.name}", "-", tag],
            stdin=make.stdout,
            stdout=errors,
            stderr=errors,
            check=False,
        )
        if make.stdout:
            make.stdout.close()
        made = make.wait()
    if made != 0 or take.returncode != 0:
        call("podman", "rmi", tag, check=False)
        errors_said = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("E:")]
        said = errors_said[0] if errors_said else last_words(log.read_text(encoding="utf-8"))
        raise Trouble(f"the image {image.name} was not built: {said} (all of it: {log.relative_to(places.PROJECT)})")


def remove_all() -> list[str]:
    """Remove every image that this module built; return their ids."""
    found = call("podman", "images", "-q", "--filter", f"label={LABEL}").split()
    for one in dict.fromkeys(found):
        call("podman", "rmi", "-f", one)
    return found
