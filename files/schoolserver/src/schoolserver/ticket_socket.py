# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gate asks of the Journal page, which may read what no learner may: a ticket, and what snapshots hold."""

from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from schoolserver import catalog, paths, registry, timeline
from schoolserver.errors import Refusal
from schoolserver.local_socket import Message
from schoolserver.names import TREE
from schoolserver.tickets import Tickets

_SECONDS = 1.0  # for one look into the catalog: all gates wait for one that asks for more


@dataclass(frozen=True)
class Asked:
    """The answers to gates, for local_server.serve(). `link`: what stands before a ticket in its link."""

    tickets: Tickets
    link: str
    registry: Path = paths.REGISTRY
    catalog: Path = paths.CATALOG

    def __call__(self, request: Message, uid: int) -> Message:
        """Answer the process with `uid`; raise Refusal.

        {"tree"} by {"ok", "url", "seconds"}; {"tree", "history": a tree of the same learner} by {"ok", "snapshots":
        {stamp: [documents, bytes]}}.
        """
        tree = self._owned(request.get("tree"), uid)
        if "history" in request:
            return {"ok": True, "snapshots": self._history(tree, request["history"])}
        ticket = self.tickets.mint(tree, time.monotonic())
        return {"ok": True, "url": f"{self.link}{ticket}", "seconds": int(self.tickets.ticket_seconds)}

    def _owned(self, tree: object, uid: int) -> str:
        owner = None
        if isinstance(tree, str) and TREE.fullmatch(tree):
            owner = registry.uid_of(tree, self.registry)
        if not isinstance(tree, str) or owner is None:
            raise Refusal(f"no tree is called {str(tree)[:80]!r}")
        # A link opens everything that a learner ever wrote: nobody gets another's.
        if uid not in (0, owner):
            raise Refusal(f"{tree} is another learner's tree")
        return tree

    def _history(self, tree: str, wanted: object) -> dict[str, tuple[int, int]]:
        # What a classmate has is nobody else's business, not even how much it is, or whether there is such a tree.
        if wanted != tree and wanted not in registry.trees_of(tree, self.registry):
            raise Refusal(f"this is no tree of the learner of {tree}")
        until = time.monotonic() + _SECONDS
        try:
            with closing(catalog.reading(self.catalog, _SECONDS)) as database:
                # A laptop decides how many versions it has; it must not keep the others from their tickets.
                database.set_progress_handler(lambda: time.monotonic() > until, 10_000)
                return timeline.held(database, str(wanted))
        except sqlite3.Error as error:
            print(f"what the snapshots of {wanted} hold cannot be counted: {error}", file=sys.stderr, flush=True)
            raise Refusal("the catalog cannot be read: try again later") from error
