#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Back the child's Journal up as the client of 2008 to 2014 does, without its waiting: permission, then its commands.

That client is written for Python 2 and cannot run beside a Sugar of today; these are its commands, in its order
(ds-backup 0.15, client/ds-backup.py).
"""

from __future__ import annotations

import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from gi.repository import GLib

from old_client import datastore, host, rsync, serial
from said import refuse, say


def main() -> None:
    """Run the backup and say, for each command, what the server was asked and how it ended."""
    ask_permission()
    runs = [send(f"{datastore()}/", "datastore-current"), send(f"{Path.home()}/power-logs/", "power-logs")]
    documents = GLib.get_user_special_dir(GLib.UserDirectory.DIRECTORY_DOCUMENTS) or f"{Path.home()}/Documents"
    if Path(documents).is_dir():
        runs.append(send(f"{documents}/", "documents"))
    with tempfile.NamedTemporaryFile() as flag:
        completion = f"{host()}:/var/lib/ds-backup/completion/{serial()}"
        runs.append(rsync("--timeout", "10", "-T", "/tmp", flag.name, completion))
    say(runs)


def ask_permission() -> None:
    """Return if the server says that this laptop may start now; else end and say why not."""
    url = f"http://{host()}/backup/1/available/{serial()}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:
        refuse(f"not now: {url} answers {error.code}")
    if body:
        refuse(f"not a permission: {url} answers with {len(body)} bytes, an old client expects none")


def send(source: str, target: str) -> dict[str, str | int]:
    """Make the server's `target` a mirror of `source`; stop the run, as the old client does, if that fails."""
    run = rsync("--partial", "--delete", "--timeout=160", source, f"{host()}:{target}")
    if run["exit"]:
        refuse(f"{target}: rsync ended {run['exit']}: {run['err']}")
    return run


if __name__ == "__main__":
    main()
