# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets Sugar's shell find its datastore service again, which a restore stops and starts.

The shell asks one process by its own number on the bus for as long as it runs. When that process has gone, the Journal
finds nothing any more until Sugar starts again: "The name :1.48 was not provided by any .service files".
"""

from __future__ import annotations

import logging

import dbus
from jarabe.journal import model
from sugar3.datastore import datastore


def reconnect() -> bool:
    """Let the shell ask the service that runs now, and the Journal look anew; say whether that worked.

    Sugar has no call for this. Where a later version keeps its connection elsewhere, it is to be started again.
    """
    if not (hasattr(model, "_datastore") and hasattr(model, "_get_datastore") and hasattr(datastore, "_data_store")):
        return False
    try:
        model._datastore = datastore._data_store = None
        model._get_datastore()  # at once, or it would not hear what activities save
        # Of no document: the Journal only looks anew, and whoever shows one document sees that it is not that one.
        model.deleted.send(None, object_id="")
    except dbus.DBusException:
        logging.exception("Sugar's datastore service does not answer after a restore")
        return False
    return True
