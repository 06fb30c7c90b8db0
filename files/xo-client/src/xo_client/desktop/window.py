# SPDX-License-Identifier: GPL-3.0-or-later
"""The school server's window within Sugar: what is going on, how far it is, and how to stop it or try again.

The control panel's own page for this says before every restore that the Journal will be emptied, which ours never does,
cannot be cancelled then, and knows no failure after the start. So the work is shown here.
"""

from __future__ import annotations

from typing import Any, Callable

from gi.repository import Gdk, GLib, Gtk
from jarabe.model import shell
from jarabe.model.session import get_session_manager
from sugar3.graphics import style

from xo_client.desktop import shown
from xo_client.desktop.page import Page
from xo_client.desktop.program import Program
from xo_client.desktop.reconnecting import reconnect
from xo_client.desktop.shown import Choice, Shown

_PROGRAMS = {shown.BACKUP: ["xo-backup", "now"], shown.RESTORE: ["xo-restore"]}
_DRAW_MS = 100
_LOGOUT_SECONDS = 10
_open: Window | None = None


def save() -> None:
    """Open the window and save the Journal on the school server at once."""
    window = _opened(shown.BACKUP)
    if window:
        window.run([])


def get_back() -> None:
    """Open the window and let the child choose what comes back."""
    window = _opened(shown.RESTORE)
    if window:
        window.ask()


def offer(record: dict[str, Any]) -> None:
    """Open the window with the question that the offer `record` puts."""
    window = _opened(shown.RESTORE)
    if window:
        window.show_now(shown.offered(record))


def is_open() -> bool:
    """Say whether the window is on the screen."""
    return _open is not None


def _opened(task: str) -> Window | None:
    """Return a new window for `task`; None where there is one already, which then comes to the front."""
    global _open  # noqa: PLW0603  there is one laptop, and one window for it
    if _open is not None:
        _open.present()
        return None
    _open = Window(task)
    _open.connect("destroy", _forget)
    _open.present()
    return _open


def _forget(_window: Any) -> None:
    global _open  # noqa: PLW0603  as above
    _open = None


class Window(Gtk.Window):  # type: ignore[misc]  # gi has no types
    """The window for one task; what stands in it is always one Shown."""

    def __init__(self, task: str) -> None:
        super().__init__()
        self._task = task
        self._program: Program | None = None
        self._told = False  # the program said how it ended
        self._arguments: list[str] = []
        self._retry: Callable[[], None] = self.ask
        self._listing: dict[str, Any] = {}
        self._choices: list[Choice] = []
        self._shown = shown.asking()
        self._drawing = 0  # GLib's number of a timer, 0: none

        self.set_decorated(False)
        self.set_resizable(False)
        self.set_modal(True)
        self.set_type_hint(Gdk.WindowTypeHint.DIALOG)
        self.set_position(Gtk.WindowPosition.CENTER_ALWAYS)
        self.set_border_width(style.LINE_WIDTH)
        beneath = [one for one in Gtk.Window.list_toplevels() if one is not self and one.is_active()]
        if beneath:
            self.set_transient_for(beneath[0])
        screen = Gdk.Screen.get_default()
        width = min(screen.get_width() - 2 * style.GRID_CELL_SIZE, 13 * style.GRID_CELL_SIZE)
        self.set_size_request(width, min(screen.get_height() - 4 * style.GRID_CELL_SIZE, 9 * style.GRID_CELL_SIZE))
        self.connect("key-press-event", self.__key_cb)
        self.connect("delete-event", self.__delete_cb)
        self.connect("destroy", self.__destroy_cb)
        # Sugar's own keys would put another view in front of a modal window.
        shell.get_model().push_modal()
        self._page = Page(self._do)
        self.add(self._page)
        self._draw()

    def ask(self) -> None:
        """Ask what the server has, and let the child choose."""
        self._listing, self._retry = {}, self.ask
        self._start(["xo-restore", "--list", "--json"], self.__listing_cb, self.__listed_cb)

    def run(self, arguments: list[str]) -> None:
        """Start the task with further `arguments`. A restore stops the service that open activities write to."""
        self._arguments = arguments
        self._retry = self._run_again
        if self._task == shown.RESTORE and activities_are_open():
            self.show_now(shown.stop_activities())
            return
        command = [*_PROGRAMS[self._task], *arguments, "--progress", "json"]
        self._start(command, self.__event_cb, self.__ended_cb)

    def show_now(self, now: Shown) -> None:
        """Show `now`."""
        self._shown = now
        self._draw()

    def _draw(self) -> None:
        self._page.draw(self._task, self._shown, self._choices)

    def _start(self, command: list[str], line: Any, ended: Any) -> None:
        self._choices = []
        self._told = False
        self.show_now(shown.asking())
        self._program = Program(command, line, ended)

    def __listing_cb(self, line: str) -> None:
        self._listing = shown.parse(line) or self._listing

    def __listed_cb(self, code: int) -> None:
        self._program = None
        if self._shown.buttons == ():  # the child pressed Cancel
            self.destroy()
        elif "days" not in self._listing:
            self.show_now(shown.not_listed(self._listing, code))
        else:
            self._choices = shown.choices(self._listing)
            self.show_now(shown.choosing(self._listing))

    def __event_cb(self, line: str) -> None:
        event = shown.parse(line)
        if event is not None:
            self._told = self._told or event.get("event") == "end"
            self._shown = shown.after(event, self._task, self._shown)
            # A program may tell of each file: Sugar has more to do than to draw all of that.
            self._drawing = self._drawing or GLib.timeout_add(_DRAW_MS, self.__draw_cb)

    def __draw_cb(self) -> bool:
        self._drawing = 0
        self._draw()
        return False

    def __ended_cb(self, code: int) -> None:
        self._program = None
        now = self._shown if self._told else shown.without_word(code)
        if self._task == shown.RESTORE and not reconnect():
            now = shown.to_restart(now)
        self.show_now(now)

    def _do(self, wish: str) -> None:
        """Do what the button `wish` asks for."""
        if wish == shown.CANCEL and self._program is not None:
            self._program.cancel()
            self.show_now(shown.stopping(self._shown))
        elif wish in (shown.CANCEL, shown.CLOSE, shown.LATER, shown.NOT_NOW):
            self.destroy()
        elif wish == shown.GET:
            self._task = shown.RESTORE
            self.run([])
        elif wish == shown.START:
            self.run(list(self._page.chosen().arguments))
        elif wish == shown.ANYWAY:
            self.run(["--anyway"])
        elif wish == shown.FIT:
            self.run([*self._arguments, "--fit"])
        elif wish == shown.RESTART:
            self._restart()
        elif wish == shown.RETRY:
            self._retry()

    def _run_again(self) -> None:
        self.run(self._arguments)

    def _restart(self) -> None:
        self.show_now(shown.restarting())
        get_session_manager().logout()
        GLib.timeout_add_seconds(_LOGOUT_SECONDS, self.__still_here_cb)

    def __still_here_cb(self) -> bool:
        get_session_manager().cancel_shutdown()
        self.show_now(shown.not_restarted())
        return False

    def __key_cb(self, _window: Any, event: Any) -> bool:
        if event.keyval == Gdk.KEY_Escape:
            return self.__delete_cb()
        return False

    def __delete_cb(self, *_: Any) -> bool:
        """Do as the button that leaves things as they are; where none does, the window stays."""
        for wish in (shown.CANCEL, shown.CLOSE, shown.LATER, shown.NOT_NOW):
            if wish in self._shown.buttons:
                self._do(wish)
                break
        return True

    def __destroy_cb(self, _window: Any) -> None:
        shell.get_model().pop_modal()
        if self._drawing:
            GLib.source_remove(self._drawing)
        if self._program is not None:
            self._program.cancel()


def activities_are_open() -> bool:
    """Say whether any activity runs: a restore would take its datastore from it."""
    return len(shell.get_model()) > 1  # the Journal is one
