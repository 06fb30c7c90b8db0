# SPDX-License-Identifier: GPL-3.0-or-later
"""Where everything lies (DESIGN.md section 3). Functions take these as arguments, so tests can stand elsewhere."""

from __future__ import annotations

from pathlib import Path

USERS = Path("/library/users")
STATE = Path("/var/lib/xs")
REGISTRY = STATE / "registry.db"
CATALOG = STATE / "catalog.db"
EXTRAUSERS = Path("/var/lib/extrausers")
SETTINGS = Path("/etc/xs")
KEYS = SETTINGS / "keys"
LEARNERS = SETTINGS / "learners"
AUDIT = USERS.parent / "audit.jsonl"
REPOSITORY = USERS.parent / "repository"
REPOSITORY_KEY = USERS.parent / "repository-key"
REPOSITORY_WORKSHOP = Path("/run/xs-repository")
PUSH_KEY = USERS.parent / "push-key"
REFUSALS = STATE / "refusals.json"
SEEN = Path("/var/lib/xs-permission/seen.json")
SOCKETS = Path("/run/xs")
PROGRAMS = Path("/usr/lib/schoolserver")
