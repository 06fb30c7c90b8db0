#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say the names of the cookies that Browse finds for the school server, by the question that Browse itself asks."""

from __future__ import annotations

import json

import gi

gi.require_version("Soup", "2.4")
gi.require_version("SoupGNOME", "2.4")

from gi.repository import Gio, Soup, SoupGNOME  # noqa: E402
from sugar3 import env  # noqa: E402


def main() -> None:
    """Ask as Browse's webactivity.py does at its start."""
    store = env.get_profile_path("org.laptop.WebActivity/data/gecko/cookies.sqlite")
    jar = SoupGNOME.CookieJarSqlite(filename=store, read_only=False)
    uri = Soup.URI()
    uri.set_scheme("xmpp")
    uri.set_host(Gio.Settings.new("org.sugarlabs.collaboration").get_string("jabber-server"))
    uri.set_path("/")
    found = jar.get_cookies(uri, for_http=False)
    print(json.dumps([one.partition("=")[0] for one in (found or "").split("; ") if one]))


if __name__ == "__main__":
    main()
