# SPDX-License-Identifier: GPL-3.0-or-later
"""What a technician takes to a laptop: the script `install`, the page that shows its one line, and a stick."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path

from schoolserver import durable, pages, repository_key
from schoolserver.errors import Refusal

ADDRESS = "http://schoolserver/client"
INSTALL = "install"
PAGE = "index.html"
README = "readme.txt"
_OURS = re.compile(
    r"install|readme\.txt|xo-client_[^/]+_all\.deb|xo-school_[^/]+_all\.deb|xo-client-[^/]+\.noarch\.rpm|\..+\.part"
)


def write(at: Path, version: str, school: str, fingerprints: Sequence[str], published: datetime, *, rpm: bool) -> None:
    """Write script and page of a publication into the directory `at`; raise OSError.

    `version` is xo-client's, `school` xo-school's, `published` UTC; `rpm` says whether there is one for Fedora.
    """
    (at / INSTALL).write_bytes(script())
    shown = [repository_key.readable(one) for one in fingerprints]
    (at / PAGE).write_bytes(_page(version, school, shown, f"{published:%Y-%m-%d %H:%M}", rpm=rpm))


def script() -> bytes:
    """Return static/install."""
    return resources.files("schoolserver").joinpath("static/install").read_bytes()


def kind() -> str:
    """Return a digest of script and page as this version of ours makes them, whatever they are filled with."""
    return hashlib.sha256(script() + _page("", "", [], "", rpm=True)).hexdigest()


def readme(version: str) -> str:
    """Return the three lines of a stick with xo-client `version`."""
    return (
        f"The school server's client {version} and this school's keys, for Debian, Ubuntu and Raspberry Pi OS.\n"
        "On the laptop, in a terminal, in the directory of this file: sudo sh ./install\n"
        "To take it away again: sudo apt-get purge xo-client xo-school\n"
    )


def fill(stick: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` by their names into the directory `stick`, on its disk when this returns, and nothing else.

    Raise Refusal, with nothing changed, where something is there that no earlier call left; raise OSError.
    """
    try:
        stick.mkdir()
    except FileExistsError:
        if not stick.is_dir():
            raise Refusal(f"{stick} is no directory: name one on the stick") from None
    except FileNotFoundError:
        raise Refusal(f"{stick.parent} is not there: mount the stick first") from None
    others = sorted(path.name for path in stick.iterdir() if not _OURS.fullmatch(path.name) or not _is_plain(path))
    if others:
        raise Refusal(f"{stick} holds {others[0]}, which is not from here: name a new or an empty directory")
    # A stick knows neither owners nor rights: these are left alone. The script comes last: before that, nothing works.
    for name in sorted(files, key=lambda name: name == INSTALL):
        new = stick / f".{name}.part"
        with new.open("wb") as file:
            file.write(files[name])
            file.flush()
            os.fsync(file.fileno())
        new.replace(stick / name)
    for path in stick.iterdir():
        if path.name not in files:
            path.unlink()
    durable.sync_directory(stick)


def _page(version: str, school: str, fingerprints: Sequence[str], published: str, *, rpm: bool) -> bytes:
    return pages.render(
        "client.html", address=ADDRESS, style=pages.stylesheet().decode(), version=version, school=school,
        fingerprints=fingerprints, published=published, rpm=rpm,
    )  # fmt: skip


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
