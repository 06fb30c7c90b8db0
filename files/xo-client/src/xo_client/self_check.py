# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves against the school server that this version of the client works on this laptop: `xo-backup self-check`.

The updater (`update.py`) asks it before and after it installs a version. It changes nothing, here or there, and takes a
place of the server for as long as one small file needs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from xo_client import offer, registration, restore_plan, rsync, server, sugar
from xo_client.errors import Trouble, own_disk
from xo_client.state import State

_PROGRAMS = ("rsync", "ssh", "ssh-keygen")
# Layout 6 has this file in a snapshot's top, and a few bytes in it; older ones have none, which is an answer as well.
_RULES = ("+ /version", "- *")
# With these words the server, or its gate, has answered: they say nothing of this version.
_ANSWERS = ("busy", "full", "nothing", "retired")


def check(state: State) -> str:
    """Return the sentence that all works here; raise Trouble with what does not."""
    for program in _PROGRAMS:
        if not shutil.which(program):
            raise Trouble("disk", f"The program {program} is not on this laptop.")
    datastore = sugar.datastore(state.profile)
    if datastore.is_dir():
        with own_disk():
            os.listdir(datastore)
    server.time_now(registration.host(state))
    at = registration.registered(state)
    if at is None or not state.known_hosts.exists():  # a check is no first contact
        return "The school server answers. This laptop has not backed up there yet."
    try:
        _logged_in(state, at)
    except Trouble as trouble:
        if trouble.reason not in _ANSWERS:
            raise
    return f"The school server answers, and knows this laptop as {at.login}."


def _logged_in(state: State, at: registration.Registered) -> None:
    server.ask(state, at, "status")
    history = server.ask(state, at, "history")
    offer.best(history)
    sources = restore_plan.sources(history, restore_plan.LATEST)
    if sources:
        with own_disk(), tempfile.TemporaryDirectory(prefix="xo-client-") as folder:
            rsync.pull(rsync.Remote(server.ssh(state, at)), sources[0].path, Path(folder), rules=_RULES)
