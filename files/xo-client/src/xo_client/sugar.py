# SPDX-License-Identifier: GPL-3.0-or-later
"""Sugar's own things on this laptop: the profile, the datastore, the settings. Sugar need not run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Mapping

COLLABORATION = "org.sugarlabs.collaboration"
_SECONDS = 20.0


def profile(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the child's Sugar profile, as Sugar finds it (sugar3/env.py)."""
    home = environ.get("SUGAR_HOME") or os.path.join(environ.get("HOME", str(Path.home())), ".sugar")
    return Path(home) / (environ.get("SUGAR_PROFILE") or "default")


def datastore(of: Path) -> Path:
    """Return where the Journal of the profile `of` lies."""
    return of / "datastore"


def setting(key: str, schema: str = "org.sugarlabs") -> str:
    """Return one of Sugar's text settings, "" where it is unset or this laptop has no Sugar."""
    return _text(_run("gsettings", "get", schema, key))


def set_setting(key: str, value: str, schema: str = "org.sugarlabs") -> None:
    """Write one of Sugar's text settings; where that fails, say so in the log: no backup depends on it."""
    if setting(key, schema) == value:
        return
    _run("gsettings", "set", schema, key, value)
    if setting(key, schema) != value:
        print(f"Sugar's setting {schema} {key} could not be written", file=sys.stderr)


def nick() -> str:
    """Return the child's name in Sugar."""
    return setting("nick", "org.sugarlabs.user")


def host_in(backup_url: str) -> str:
    """Return the host of Sugar's `backup-url`, which reads `<login>@<host>:backup`; "" where there is none."""
    return backup_url.rpartition("@")[2].partition(":")[0]


def login_in(backup_url: str) -> str:
    """Return the login name of Sugar's `backup-url`."""
    return backup_url.rpartition("@")[0]


def notify(body: str) -> bool:
    """Show a notification in Sugar's frame, and say whether there was a Sugar to show it."""
    name = "org.freedesktop.Notifications"
    where = (name, "/" + name.replace(".", "/"), name)
    hints = ("1", "x-sugar-icon-name", "s", "school-server")
    said = ("School server", "0", "", "School server", body, "0", *hints, "-1")
    return bool(_run("busctl", "--user", "call", "--", *where, "Notify", "susssasa{sv}i", *said))


def _run(*command: str) -> str:
    """Return what `command` prints, "" where it fails or is not there: no backup depends on it."""
    try:
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_SECONDS, check=False,
            # Else a child called Zoë is Zo? where the session has no language of its own, as a timer's often has none.
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout.decode("utf-8", "replace").strip() if ended.returncode == 0 else ""


def _text(printed: str) -> str:
    """Return the text that gsettings printed in its quotes (GVariant's text form)."""
    if len(printed) < 2 or printed[0] not in "'\"" or printed[-1] != printed[0]:
        return ""
    return printed[1:-1].replace("\\" + printed[0], printed[0]).replace("\\\\", "\\")
