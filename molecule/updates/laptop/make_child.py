#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a child on this laptop, with a running session and a Journal of ten documents in Sugar's layout; Sugar itself is
not needed for updates. Run as root.
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import subprocess
import time
import uuid
from pathlib import Path

CHILD = "olpc"
DOCUMENTS = 10
WHEN = 1_700_000_000  # seconds since 1970


def main() -> None:
    """Make the child and its Journal."""
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", CHILD], check=True)
    child = pwd.getpwnam(CHILD)
    datastore = Path(child.pw_dir, ".sugar/default/datastore")
    datastore.mkdir(parents=True)
    (datastore / "version").write_text("6")
    for number in range(DOCUMENTS):
        write(datastore, number)
    for path in (Path(child.pw_dir, ".sugar"), *Path(child.pw_dir, ".sugar").rglob("*")):
        shutil.chown(path, CHILD, CHILD)
    subprocess.run(["loginctl", "enable-linger", CHILD], check=True)
    end = time.monotonic() + 20
    while not Path(f"/run/user/{child.pw_uid}/systemd/private").exists() and time.monotonic() < end:
        time.sleep(0.1)


def write(datastore: Path, number: int) -> None:
    """Write document `number`, the same on each laptop but for its uid."""
    uid, data = str(uuid.uuid4()), random.Random(number).randbytes(5000 * (number + 1))
    metadata = datastore / uid[:2] / uid / "metadata"
    metadata.mkdir(parents=True)
    said = {"uid": uid, "title": f"Drawing {number}", "timestamp": str(WHEN), "activity": "org.laptop.Oficina",
            "mime_type": "image/png", "filesize": str(len(data))}  # fmt: skip
    (metadata.parent / "data").write_bytes(data)
    for key, value in said.items():
        (metadata / key).write_text(value)
        os.utime(metadata / key, (WHEN, WHEN))


if __name__ == "__main__":
    main()
