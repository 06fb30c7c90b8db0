#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch the newest backed-up Journal into the place of a wiped one, as the restore scripts of old builds did."""

from __future__ import annotations

from pathlib import Path

from old_client import datastore, host, rsync
from said import refuse, say


def main() -> None:
    """Pull datastore-latest/ and say what the server was asked."""
    if Path(datastore()).exists():
        refuse(f"{datastore()} is still there: wipe_journal.py first")
    run = rsync(f"{host()}:datastore-latest/", datastore())
    if run["exit"]:
        refuse(f"rsync ended {run['exit']}: {run['err']}")
    say(run)


if __name__ == "__main__":
    main()
