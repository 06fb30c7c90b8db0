# SPDX-License-Identifier: GPL-3.0-or-later
"""The shapes of the names that cross borders here: each may stand in a path, a login name and a key file as it is."""

from __future__ import annotations

import re

_SERIAL = r"[A-Z]{3}[A-Za-z0-9]{8}"
SERIAL = re.compile(_SERIAL, re.ASCII)  # a laptop (PROTOCOL.md section 2)
TREE = re.compile(rf"{_SERIAL}(\.[1-9][0-9]{{0,3}})?", re.ASCII)  # its first tree, or a further one
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)  # a machine, or a document
