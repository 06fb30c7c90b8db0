# SPDX-License-Identifier: GPL-3.0-or-later
"""The school server as a place to save the Journal to, in Sugar's control panel, section Backup.

Both ways open the school server's own window. What to bring back is asked there as well: the panel's list would have to
wait for the server's answer, and Sugar's shell, of which the panel is a part, with it.
"""

from __future__ import annotations

from typing import Any, Callable

from xo_client.desktop import window

from .backend_tools import Backend, PreConditionsError


class _InItsWindow(Backend):  # type: ignore[misc]  # Sugar has no types
    """A backup or a restore that the panel starts and the window shows."""

    def __init__(self, begin: Callable[[], None]) -> None:
        super().__init__()
        self._begin = begin

    def verify_preconditions(self, option: Any | None = None) -> None:
        """Open the window. The panel never comes to start(): the error is its own way to show a sentence."""
        del option
        self._begin()
        raise PreConditionsError("The school server has its own window. To open it once more, press Retry.")

    def start(self) -> None:
        """Do nothing: see verify_preconditions."""

    def cancel(self) -> None:
        """Do nothing: the window has its own button."""


def get_name() -> str:
    """Return what the panel's list calls this."""
    return "School server"


def get_backup() -> Backend:
    """Return what saves the Journal."""
    return _InItsWindow(window.save)


def get_restore() -> Backend:
    """Return what brings documents back."""
    return _InItsWindow(window.get_back)
