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

# What the updater says to whoever asks `xo-backup status`, and to the technician who pushes. A reason is one word too.
UPDATES = {
    "updated": "This laptop got version {version} from the school server.",
    "current": "This laptop has what the school server has.",
    # Not now.
    "mains": "An update waits until the laptop is charging.",
    "battery": "The battery is low, so nothing was installed. Connect the laptop to power.",
    "metered": "This network costs money for each document, so no update is sent over it.",
    "touched": "Somebody uses the laptop. The update waits until nobody does for some minutes.",
    "running": "A backup or a restore is running. The update waits for its end.",
    "another": "Another update is running.",
    "gone": "The school server went away meanwhile, so the version before is back. It is tried again by itself.",
    "cut-off": "The update to {version} was cut off, and the version before is back. It is tried again by itself.",
    "away": "The school server is not on this network.",
    "locked": "Another program was installing something all the time. The update is tried again by itself.",
    # Something is wrong: nothing was changed.
    "no-apt": "This laptop has no apt: `dnf upgrade` brings new versions.",
    "no-source": "This laptop does not know the school's key: the package xo-school is not installed.",
    "clock": "This laptop's clock is wrong, so it cannot tell whether the school's signature is valid. Set the clock.",
    "key": "The school's list of packages is signed by a key that this laptop does not know, so nothing was installed.",
    "unsigned": "The school's list of packages is not signed by the school, so nothing was installed.",
    "tampered": "What the school server sent is not what the school has signed, so nothing was installed.",
    "half": "The school server did not send all that an update needs, so nothing was installed.",
    "older": "The school server has only older versions, so nothing was installed.",
    "disk": "The laptop's own disk is full, so nothing was installed. Remove something from the Journal.",
    "readonly": "The laptop's own disk cannot be written, so nothing was installed.",
    "ill": "No update now, because something is wrong on this laptop already: {why}",
    "held": "A technician holds the package back on this laptop (apt-mark unhold xo-client).",
    "depends": "The new version needs a package that this laptop has not: install it by `apt-get install xo-client`.",
    "slow": "The update did not end in time.",
    "apt": "The update did not work:",
    # Something is wrong: the version before is back.
    "bad": "Version {version} did not work on this laptop, so the version before is back: {why}",
    "stuck": "The update did not work, and the version before could not be put back. Start the laptop again.",
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
