# SPDX-License-Identifier: GPL-3.0-or-later
"""rsync's filter rules for a fetch: what of a snapshot comes. Pure. They travel inside rsync's protocol.

No rule can tell a link; staging.py takes those away again. Everything else that is no part of a document stays out.
"""

from __future__ import annotations

from typing import Sequence

from xo_client import layout0
from xo_client.restore_plan import INTERNAL, Document


def for_documents(wanted: Sequence[Document], all_of_them: int) -> list[str]:
    """Return rsync's filter rules that let the files of `wanted`, of one snapshot, through and no others.

    `all_of_them` is how many documents the snapshot has. The fewer rules there are, the less work each file is.
    """
    if any(document.old for document in wanted):
        return _for_layout0(wanted)
    inside = [
        f"- /*/*/{INTERNAL}", "- /*/*/metadata/.*", "- /*/*/metadata/*/", "+ /*/*/metadata/", "+ /*/*/metadata/*",
        "- /*/*/data/", "+ /*/*/data", "- /*/*/*",
    ]  # fmt: skip
    if len(wanted) == all_of_them:
        return [*inside, "+ /??/", "+ /??/" + "?" * 36 + "/", "- *"]
    drawers = sorted({document.uid[:2] for document in wanted})
    chosen = [f"+ /{document.uid[:2]}/{document.uid}/" for document in wanted]
    return [*inside, *(f"+ /{drawer}/" for drawer in drawers), *chosen, "- *"]


def for_titles(uids: Sequence[str]) -> list[str]:
    """Return rsync's filter rules that let nothing through but the titles of these documents."""
    drawers = sorted({uid[:2] for uid in uids})
    inside = ["+ /*/*/metadata/", "+ /*/*/metadata/title", "- /*/*/*", "- /*/*/metadata/*"]
    return [*inside, *(f"+ /{drawer}/" for drawer in drawers), *(f"+ /{uid[:2]}/{uid}/" for uid in uids), "- *"]


def _for_layout0(wanted: Sequence[Document]) -> list[str]:
    wheres = [where for one in wanted for where in (one.uid, layout0.metadata(one.uid), f"preview/{one.uid}")]
    directories = [f"- /{layout0.STORE}/{where}/" for where in wheres]
    files = [f"+ /{layout0.STORE}/{where}" for where in wheres]
    return [*directories, f"+ /{layout0.STORE}/", f"+ /{layout0.STORE}/preview/", *files, "- *"]
