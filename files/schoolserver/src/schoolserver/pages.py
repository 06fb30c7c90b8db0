# SPDX-License-Identifier: GPL-3.0-or-later
"""The Journal page's words and looks: templates filled in, everything a laptop said escaped."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from schoolserver.stamps import time_of
from schoolserver.timeline import Version

MB = 1_000_000
# XO laptops unpack a bundle in a 50 MB tmpfs, beside the downloaded one (PROTOCOL.md section 7).
TOO_LARGE_FOR_XO = 45 * MB
_EARLIEST = datetime(2006, 1, 1, tzinfo=UTC).timestamp()  # before there was Sugar: a clock that had lost its battery

# The names that children know, where the bundle id does not say them.
_ACTIVITIES = {
    "org.laptop.AbiWordActivity": "Write",
    "org.laptop.Oficina": "Paint",
    "org.laptop.WebActivity": "Browse",
    "org.laptop.TurtleArtActivity": "Turtle Art",
    "org.laptop.sugar.ReadActivity": "Read",
    "org.laptop.TamTamMini": "TamTam Mini",
}
_KINDS = {"image": "Picture", "audio": "Sound", "video": "Film", "text": "Text"}


def render(template: str, **values: Any) -> bytes:
    """Return the page that `templates/<template>` makes of `values`."""
    return _environment.get_template(template).render(**values).encode()


def stylesheet() -> bytes:
    """Return static/journal.css."""
    return resources.files("schoolserver").joinpath("static/journal.css").read_bytes()


def title(version: Version) -> str:
    """Return what to call the document."""
    return version.said.title or "No name"


def kind(version: Version) -> str:
    """Return in a word what made the document, or what it is: "Write" for org.laptop.AbiWordActivity."""
    bundle_id = version.said.activity
    if bundle_id in _ACTIVITIES:
        return _ACTIVITIES[bundle_id]
    word = re.sub(r"(?<!^)Activity$", "", bundle_id.rpartition(".")[2])
    return word[:40] or _KINDS.get(version.said.mime_type.partition("/")[0], "Thing")


def size(count: int) -> str:
    """Return bytes as MB in words: 20000000 is "20 MB"."""
    if count == 0:
        return "empty"
    if count < MB / 10:
        return "less than 0.1 MB"
    return f"{count / MB:.1f} MB" if count < 10 * MB else f"{count / MB:.0f} MB"


def day(stamp: str) -> str:
    """Return the day of a stamp in the server's time zone: "Monday, 23 November 2026"."""
    when = time_of(stamp).astimezone()
    return f"{when:%A}, {when.day} {when:%B} {when.year}"


def clock(stamp: str) -> str:
    """Return the time of day of a stamp in the server's time zone: "10:15"."""
    return f"{time_of(stamp).astimezone():%H:%M}"


def worked_on(version: Version) -> str:
    """Return the day that the laptop gives as the last change; "" where its clock cannot be right, or on `since`."""
    latest = time_of(version.last).timestamp() + 24 * 3600
    if not _EARLIEST <= version.said.timestamp <= latest:
        return ""
    when = datetime.fromtimestamp(version.said.timestamp, UTC).astimezone()
    if when.date() == time_of(version.since).astimezone().date():
        return ""
    return f"{when.day} {when:%B} {when.year}"


def file_name(version: Version) -> str:
    """Return an ASCII file name for the bundle; Sugar shows it as the title while it arrives."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", version.said.title).strip("-")
    return f"{words[:40] or 'document'}.xoj"


def too_large(version: Version) -> bool:
    """Say whether an XO laptop would fail to unpack the bundle."""
    return version.said.size > TOO_LARGE_FOR_XO


_environment = Environment(
    loader=PackageLoader("schoolserver"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(
    title_of=title,
    kind=kind,
    size=size,
    day=day,
    clock=clock,
    worked_on=worked_on,
    file_name=file_name,
    too_large=too_large,
)
