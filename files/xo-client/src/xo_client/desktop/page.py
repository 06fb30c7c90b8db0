# SPDX-License-Identifier: GPL-3.0-or-later
"""How the school server's window looks: a dark bar with the title, as the control panel has, and below it the page."""

from __future__ import annotations

from typing import Any, Callable

from gi.repository import GLib, Gtk, Pango
from sugar3.graphics import style
from sugar3.graphics.icon import Icon
from sugar3.profile import get_color

from xo_client.desktop import shown
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
_TITLES = {shown.BACKUP: "Save my Journal on the school server", shown.RESTORE: "My documents on the school server"}
_PULSE_MS = 100


class Page(Gtk.VBox):  # type: ignore[misc]  # gi has no types
    """What stands in the window: always one Shown."""

    def __init__(self, do: Callable[[str], None]) -> None:
        """Make it; `do` is called with what a pressed button asks for (a key of shown.LABELS)."""
        super().__init__()
        self._do = do
        self._now = shown.asking()
        self._pulse = 0  # GLib's number of a timer, 0: none
        self.connect("destroy", self.__destroy_cb)
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
        self.pack_start(bar, False, False, 0)

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
        self.pack_start(page, True, True, 0)
        self.show_all()

    def draw(self, task: str, now: Shown, choices: list[Choice]) -> None:
        """Show `now`, a moment of `task`; `choices` stand in it where the child is to start something."""
        self._now = now
        self._title.set_markup(f"<b>{GLib.markup_escape_text(_TITLES[task])}</b>")
        self._icon.props.icon_name = f"backup-{task}"
        self._sentence.set_text(now.sentence)
        self._detail.set_text(now.detail)
        self._bar.set_visible(now.bar)
        if now.fraction is not None:
            self._bar.set_fraction(now.fraction)
        elif now.bar and not self._pulse:
            self._pulse = GLib.timeout_add(_PULSE_MS, self.__pulse_cb)
        self._fill_list(choices if shown.START in now.buttons else [], now.lines)
        if [button.wish for button in self._buttons.get_children()] != list(now.buttons):
            for button in self._buttons.get_children():
                self._buttons.remove(button)
            for wish in now.buttons:
                self._buttons.pack_start(_Button(wish, self._do), False, False, 0)
            self._buttons.show_all()
            if now.buttons:
                self._buttons.get_children()[0].grab_focus()

    def chosen(self) -> Choice:
        """Return what the child has chosen."""
        choice: Choice = next(radio.choice for radio in self._list.get_children() if radio.get_active())
        return choice

    def _fill_list(self, choices: list[Choice], lines: tuple[str, ...]) -> None:
        for child in self._list.get_children():
            self._list.remove(child)
        first = None
        for choice in choices:
            radio = _Radio(choice, first)
            first = first or radio
            self._list.pack_start(radio, False, False, 0)
        for line in lines:
            label = _label(style.zoom(21))
            label.set_text(line)
            self._list.pack_start(label, False, False, 0)
        self._list.show_all()
        self._scrolled.set_visible(bool(choices or lines))

    def __pulse_cb(self) -> bool:
        if not self._now.bar or self._now.fraction is not None:
            self._pulse = 0
            return False
        self._bar.pulse()
        return True

    def __destroy_cb(self, _page: Any) -> None:
        if self._pulse:
            GLib.source_remove(self._pulse)


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
