# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the client's registration in the place of Sugar's own, which needs a DSA key: OpenSSH 10 makes none.

Without a key Sugar asks the server for nothing and says "Cannot connect to the server." Its menu stays as it is.
"""

from __future__ import annotations

import logging
import subprocess

from jarabe.desktop import schoolserver

from xo_client.desktop import shown

_SECONDS = 40


def mend() -> None:
    """Let Sugar's menu "Register" call xo-backup from now on."""
    schoolserver.register_laptop = _register


def _register(url: str = "") -> bool:
    """Register; raise Sugar's RegisterError with a sentence for its alert. Sugar waits, as it does for its own."""
    del url  # the client finds the server by itself
    try:
        ended = subprocess.run(
            ["xo-backup", "register", "--json"],
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logging.exception("xo-backup register")
        raise schoolserver.RegisterError(shown.refused("")) from error
    if ended.returncode != 0:
        raise schoolserver.RegisterError(shown.refused((ended.stdout or ended.stderr).decode("utf-8", "replace")))
    return True
