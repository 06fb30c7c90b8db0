# SPDX-License-Identifier: GPL-3.0-or-later
"""What the client says to a child, one sentence or two for each reason: what is so, and what to do.

The words are plain, because many who read them learn English as they read. A reason is one word and stays as it is:
programs read it (JSON of `xo-backup` and `xo-restore`, `X-XS-Reason` of the server).
"""

from __future__ import annotations

SENTENCES = {
    # Nothing is wrong.
    "done": "Today's backup is done.",
    "due": "A backup will start by itself soon.",
    "running": "A backup or a restore is already running. Wait until it is finished.",
    # It will pass.
    "away": "The school server is not on this network. The backup starts by itself when you are at school.",
    "network": "The connection to the school server broke off. It goes on where it stopped the next time.",
    "busy": "The school server is busy with other laptops. The laptop tries again by itself.",
    "metered": "This network costs money for each document, so nothing is sent over it.",
    "battery": "The battery is low. Connect the laptop to power.",
    "partly": "Some documents could not be read on this laptop. All the others are safe. It is tried again by itself.",
    "moving": "Sugar was saving a document just then. The backup goes on in a few minutes.",
    "writing": "An activity is just saving. Close all activities, then try again.",
    "trouble": "The school server has a problem of its own. Please tell your teacher if this stays so for some days.",
    # Somebody has to do something.
    "full": "The school server is full and takes nothing new. Please tell your teacher.",
    "refused": "The school server did not accept this laptop. Please tell your teacher.",
    "unknown": "The school server does not know this laptop. Choose Register in the menu of your XO figure.",
    "retired": "This laptop is in store, says the school server. Please tell your teacher.",
    "stranger": (
        "The school server here is not the one that keeps your documents, so nothing was sent. If your school has a "
        "new server, choose Register again in the menu of your XO figure."
    ),
    "pending": "If you had another laptop, or this one was repaired, ask your teacher for your old documents.",
    "offer": "The school server keeps documents that are not on this laptop. Get them back first: Settings, Backup.",
    "profile": "Nobody has used Sugar on this laptop yet. Start Sugar once.",
    "room": "There is not enough room on this laptop.",
    "disk": "The laptop's own disk is full or does not work. Please tell your teacher.",
    "nothing": "The school server has no documents of this laptop yet.",
    "cancelled": "It was cancelled. Your Journal is as it was.",
    "words": "The program was called with words that it does not know.",
}

PASSING = frozenset({
    "away", "network", "busy", "metered", "battery", "partly", "moving", "writing", "trouble", "full",
    "running",
})  # fmt: skip
# For these Sugar shows a notification: only a person can go on.
FOR_A_PERSON = frozenset({"full", "refused", "unknown", "retired", "stranger", "pending", "offer", "disk"})


def shown(text: str) -> str:
    """Return somebody else's `text` on one line, without what would steer a terminal or that no text can hold."""
    return "".join(sign for sign in " ".join(text.split()) if sign.isprintable())
