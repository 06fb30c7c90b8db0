# SPDX-License-Identifier: GPL-3.0-or-later
"""The school server's window within Sugar: what is going on, how far it is, and how to stop it or try again.

The control panel's own page for this says before every restore that the Journal will be emptied, which ours never does,
cannot be cancelled then, and knows no failure after the start. So the work is shown here.
"""

from __future__ import annotations

from typing import Any, Callable

from gi.repository import Gdk, GLib, Gtk, Pango
from jarabe.model import shell
from jarabe.model.session import get_session_manager
from sugar3.graphics import style
from sugar3.graphics.icon import Icon
from sugar3.profile import get_color

from xo_client.desktop import shown
from xo_client.desktop.program import Program
from xo_client.desktop.reconnecting import reconnect
from xo_client.desktop.shown import Choice, Shown

_ICONS = {
    shown.CANCEL: "dialog-cancel",
    shown.CLOSE: "dialog-cancel",
    shown.NOT_NOW: "dialog-cancel",
    shown.LATER: "dialog-cancel",
    shown.RETRY: "view-refresh",
    shown.RESTART: "system-restart",
    shown.START: "dialog-ok",
    shown.GET: "dialog-ok",
    shown.FIT: "dialog-ok",
    shown.ANYWAY: "dialog-ok",
}
_PROGRAMS = {shown.BACKUP: ["xo-backup", "now"], shown.RESTORE: ["xo-restore"]}
_TITLES = {shown.BACKUP: "Save my Journal on the school server", shown.RESTORE: "My documents on the school server"}
_PULSE_MS = 100
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
        self._pulse = 0  # GLib's number of a timer, 0: none
        self._drawing = 0  # as well

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
        self.add(self._page())
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
        if self._task == shown.RESTORE and not reconnect():
            self.show_now(shown.to_restart(self._shown))
        elif not self._told:
            self.show_now(shown.without_word(code))

    def _do(self, wish: str) -> None:
        """Do what the button `wish` asks for."""
        if wish == shown.CANCEL and self._program is not None:
            self._program.cancel()
            self.show_now(shown.stopping(self._shown))
        elif wish in (shown.CANCEL, shown.CLOSE, shown.LATER, shown.NOT_NOW):
            self.destroy()
        elif wish == shown.GET:
            self._task = shown.RESTORE
            self._retitle()
            self.run([])
        elif wish == shown.START:
            self.run(list(self._chosen().arguments))
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

    # How it looks: a dark bar with the title, as the control panel has, and below it the page.

    def _page(self) -> Any:
        box = Gtk.VBox()
        bar = Gtk.EventBox()
        bar.modify_bg(Gtk.StateType.NORMAL, style.COLOR_TOOLBAR_GREY.get_gdk_color())
        row = Gtk.HBox(spacing=style.DEFAULT_SPACING)
        row.set_size_request(-1, style.GRID_CELL_SIZE)
        row.set_border_width(style.DEFAULT_PADDING)
        row.pack_start(Icon(icon_name="school-server", pixel_size=style.STANDARD_ICON_SIZE, xo_color=get_color()),
                       False, False, style.DEFAULT_SPACING)  # fmt: skip
        self._title = Gtk.Label()
        self._title.modify_fg(Gtk.StateType.NORMAL, style.COLOR_WHITE.get_gdk_color())
        row.pack_start(self._title, False, False, 0)
        bar.add(row)
        box.pack_start(bar, False, False, 0)

        page = Gtk.EventBox()
        page.modify_bg(Gtk.StateType.NORMAL, style.COLOR_WHITE.get_gdk_color())
        inner = Gtk.VBox(spacing=style.DEFAULT_SPACING)
        inner.set_border_width(style.GRID_CELL_SIZE // 2)
        self._icon = Icon(pixel_size=style.LARGE_ICON_SIZE, xo_color=get_color())
        inner.pack_start(self._icon, False, False, 0)
        self._sentence = _label(style.zoom(28))
        inner.pack_start(self._sentence, False, False, 0)
        self._bar = Gtk.ProgressBar()
        inner.pack_start(self._bar, False, False, 0)
        self._detail = _label(style.zoom(21))
        inner.pack_start(self._detail, False, False, 0)
        self._list = Gtk.VBox(spacing=style.DEFAULT_PADDING)
        self._scrolled = Gtk.ScrolledWindow()
        self._scrolled.set_policy(Gtk.PolicyType.NEVER, Gtk.PolicyType.AUTOMATIC)
        self._scrolled.add_with_viewport(self._list)
        self._scrolled.get_child().modify_bg(Gtk.StateType.NORMAL, style.COLOR_WHITE.get_gdk_color())
        inner.pack_start(self._scrolled, True, True, 0)
        self._buttons = Gtk.HBox(spacing=style.DEFAULT_SPACING)
        self._buttons.set_halign(Gtk.Align.CENTER)
        inner.pack_end(self._buttons, False, False, 0)
        page.add(inner)
        box.pack_start(page, True, True, 0)
        self._retitle()
        box.show_all()
        return box

    def _retitle(self) -> None:
        self._title.set_markup(f"<b>{GLib.markup_escape_text(_TITLES[self._task])}</b>")
        self._icon.props.icon_name = f"backup-{self._task}"

    def _draw(self) -> None:
        now = self._shown
        self._sentence.set_text(now.sentence)
        self._detail.set_text(now.detail)
        self._bar.set_visible(now.bar)
        if now.fraction is not None:
            self._bar.set_fraction(now.fraction)
        elif now.bar and not self._pulse:
            self._pulse = GLib.timeout_add(_PULSE_MS, self.__pulse_cb)
        self._fill_list(now)
        if [button.wish for button in self._buttons.get_children()] != list(now.buttons):
            for button in self._buttons.get_children():
                self._buttons.remove(button)
            for wish in now.buttons:
                self._buttons.pack_start(_Button(wish, self._do), False, False, 0)
            self._buttons.show_all()
            if now.buttons:
                self._buttons.get_children()[0].grab_focus()

    def _fill_list(self, now: Shown) -> None:
        choices = self._choices if shown.START in now.buttons else []
        for child in self._list.get_children():
            self._list.remove(child)
        first = None
        for choice in choices:
            radio = _Radio(choice, first)
            first = first or radio
            self._list.pack_start(radio, False, False, 0)
        for line in now.lines:
            label = _label(style.zoom(21))
            label.set_text(line)
            self._list.pack_start(label, False, False, 0)
        self._list.show_all()
        self._scrolled.set_visible(bool(choices or now.lines))

    def _chosen(self) -> Choice:
        chosen: Choice = next(radio.choice for radio in self._list.get_children() if radio.get_active())
        return chosen

    def __pulse_cb(self) -> bool:
        if not self._shown.bar or self._shown.fraction is not None:
            self._pulse = 0
            return False
        self._bar.pulse()
        return True

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
        for timer in (self._pulse, self._drawing):
            if timer:
                GLib.source_remove(timer)
        if self._program is not None:
            self._program.cancel()


class _Button(Gtk.Button):  # type: ignore[misc]  # gi has no types
    def __init__(self, wish: str, do: Any) -> None:
        super().__init__(label=shown.LABELS[wish])
        self.wish = wish
        self.set_image(Icon(icon_name=_ICONS[wish], pixel_size=style.SMALL_ICON_SIZE))
        self.connect("clicked", lambda _button: do(wish))


class _Radio(Gtk.RadioButton):  # type: ignore[misc]  # gi has no types
    def __init__(self, choice: Choice, group: Any) -> None:
        super().__init__(group=group)
        self.choice = choice
        label = _label(style.zoom(21))
        note = f"   {choice.note}" if choice.note else ""
        label.set_markup(f"<b>{GLib.markup_escape_text(choice.label)}</b>{GLib.markup_escape_text(note)}")
        self.add(label)


def _label(pixels: int) -> Any:
    label = Gtk.Label()
    label.set_line_wrap(True)
    label.set_justify(Gtk.Justification.CENTER)
    label.set_max_width_chars(50)
    font = Pango.FontDescription()
    font.set_absolute_size(pixels * Pango.SCALE)
    label.modify_font(font)
    return label


def activities_are_open() -> bool:
    """Say whether any activity runs: a restore would take its datastore from it."""
    return len(shell.get_model()) > 1  # the Journal is one
