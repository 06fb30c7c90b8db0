# SPDX-License-Identifier: GPL-3.0-or-later
"""The school server in Sugar's frame: its menu says when the Journal was saved last, saves it now, and gets it back.

Sugar loads this once a session. It also mends Sugar's Register and offers the restore that waits.
"""

from __future__ import annotations

import logging
from typing import Any, Callable

from jarabe.frame.frameinvoker import FrameWidgetInvoker
from sugar3 import profile
from sugar3.graphics import style
from sugar3.graphics.icon import Icon
from sugar3.graphics.palette import Palette
from sugar3.graphics.palettemenu import PaletteMenuBox, PaletteMenuItem
from sugar3.graphics.tray import TrayIcon

from xo_client.desktop import offering, registering, shown, window
from xo_client.desktop.program import Program


class SchoolServerIcon(TrayIcon):  # type: ignore[misc]  # Sugar has no types
    """The icon."""

    FRAME_POSITION_RELATIVE = 600

    def __init__(self) -> None:
        TrayIcon.__init__(self, icon_name="school-server", xo_color=profile.get_color())
        self.get_accessible().set_name("School server")  # for who hears the screen
        self.set_palette_invoker(FrameWidgetInvoker(self))
        self.palette_invoker.props.toggle_palette = True

    def create_palette(self) -> Palette:
        """Return the menu."""
        palette = SchoolServerPalette()
        palette.set_group_id("frame")
        return palette


class SchoolServerPalette(Palette):  # type: ignore[misc]  # Sugar has no types
    """The menu; when it opens, it asks `xo-backup status` what to say."""

    def __init__(self) -> None:
        Palette.__init__(self, label="School server")
        box = PaletteMenuBox()
        for text, icon, do in (
            ("Save my Journal now", "backup-backup", window.save),
            ("Get documents back", "backup-restore", window.get_back),
        ):
            item = PaletteMenuItem(text)
            # In a colour: these icons are black, and so is a menu.
            image = Icon(icon_name=icon, pixel_size=style.SMALL_ICON_SIZE, xo_color=profile.get_color())
            image.show()
            item.set_image(image)
            item.connect("activate", lambda _item, do=do: do())
            box.append_item(item)
            item.show()
        self.set_content(box)
        box.show()
        self.connect("popup", self.__popup_cb)

    def __popup_cb(self, _palette: Any) -> None:
        Program(["xo-backup", "status", "--json"], self.__said_cb, lambda _code: None)

    def __said_cb(self, line: str) -> None:
        self.props.secondary_text = shown.last_saved(shown.parse(line) or {})


def setup(tray: Any) -> None:
    """Put the icon into Sugar's frame. What fails here is logged and disturbs nothing else."""
    _begin(registering.mend)
    _begin(offering.watch)
    _begin(lambda: tray.add_device(SchoolServerIcon()))


def _begin(part: Callable[[], None]) -> None:
    try:
        part()
    except Exception:  # Sugar goes on, whatever it is
        logging.exception("The school server's part of the frame did not start")
