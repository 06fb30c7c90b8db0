#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill the child's Journal with forty documents through Sugar's own datastore service, as activities do.

They differ as real ones do: with and without a preview, with and without data, a title in Nepali, one of 20 MB. The
same forty every time, so that a failure can be looked at again.
"""

from __future__ import annotations

import random
import struct
import time
import zlib
from pathlib import Path

import dbus
from dbus.mainloop.glib import DBusGMainLoop
from sugar3 import env
from sugar3.datastore import datastore

from said import refuse, say

COUNT = 40
LARGE = 20 * 1000 * 1000
ACTIVITIES = (
    ("org.laptop.TurtleArtActivity", "application/x-turtle-art"),
    ("org.laptop.AbiWordActivity", "application/vnd.oasis.opendocument.text"),
    ("org.laptop.Oficina", "image/png"),
    ("org.laptop.RecordActivity", "audio/ogg"),
    ("org.laptop.Calculate", "text/plain"),
)
TITLES = {
    0: "मेरो घर",  # "my house" in Nepali
    1: "Long film of the school day",
    2: "Turtle house",
    3: "Poem about rain",
    4: 'A "quoted" title / with a slash & <b>tags</b>',
}


def main() -> None:
    """Create the documents and say their uids and titles."""
    DBusGMainLoop(set_as_default=True)  # the toolkit listens to signals
    made = [create(number) for number in range(COUNT)]
    wait_for_checksums()
    say(made)


def create(number: int) -> dict[str, str]:
    """Create document `number` in the Journal; return its uid and title."""
    rng = random.Random(number)
    activity, mime = ACTIVITIES[number % len(ACTIVITIES)]
    document = datastore.create()
    document.metadata.update(
        {
            "title": TITLES.get(number, f"{activity.rsplit('.', 1)[-1]} {number}"),
            "title_set_by_user": "1",
            "activity": activity,
            "activity_id": f"{rng.getrandbits(160):040x}",
            "mime_type": mime,
            "keep": str(number % 2),
            "share-scope": "private",
            "icon-color": "#FF2B34,#005FE4",
            "tags": "घर school\nrain" if number % 5 == 0 else "",
        }
    )
    if has_preview(number):
        document.metadata["preview"] = dbus.ByteArray(png(rng.randbytes(3)))
    if size(number):
        document.file_path = write(rng.randbytes(size(number)), str(number))
    datastore.write(document, transfer_ownership=True)
    uid = str(document.object_id)
    document.destroy()
    return {"uid": uid, "title": document.metadata["title"]}


def has_preview(number: int) -> bool:
    """Say whether document `number` has a picture."""
    return number % 3 != 1


def size(number: int) -> int:
    """Return how many bytes of data document `number` has; 0: no file, as a mere start of an activity leaves."""
    if number == 1:
        return LARGE
    return 0 if number % 8 == 7 else 500 + 1777 * number


def write(data: bytes, name: str) -> str:
    """Put `data` where activities put it before they hand it over; return the path."""
    folder = Path(env.get_profile_path("data"))
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    return str(path)


def png(colour: bytes) -> bytes:
    """Return a picture of one colour (three bytes: red, green, blue), of the size that Sugar's previews have."""
    width, height = 300, 225
    rows = (b"\0" + colour * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )


def wait_for_checksums() -> None:
    """Wait until Sugar has written the checksums that it works out when it is idle, so that the Journal rests."""
    queue = Path(env.get_profile_path("datastore/checksums/queue"))
    end = time.monotonic() + 20
    while any(queue.iterdir()):
        if time.monotonic() > end:
            refuse(f"Sugar did not finish its checksums: {queue} is not empty")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
