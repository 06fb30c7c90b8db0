#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open one page of the school server as a browser does: `browse.py <url> [file]`.

Cookies are kept from one call to the next. Without `file` the page is shown, with it the download is stored there.
"""

from __future__ import annotations

import http.cookiejar
import sys
import urllib.error
import urllib.request
from pathlib import Path

from said import refuse, say

COOKIES = Path.home() / "cookies"


def main() -> None:
    """Open the page and say its status, its final address, its headers and, where it is text, its body."""
    if len(sys.argv) not in (2, 3):
        refuse("name the page: browse.py <url> [file]")
    cookies = http.cookiejar.LWPCookieJar(COOKIES)
    if COOKIES.exists():
        cookies.load(ignore_discard=True)
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    try:
        answer = opener.open(sys.argv[1], timeout=30)
    except urllib.error.HTTPError as error:
        answer = error  # a refusal is an answer as well
    with answer:
        body = answer.read()
        said = {
            "status": answer.status,
            "url": answer.url,
            "headers": {k.lower(): v for k, v in answer.headers.items()},
        }
    cookies.save(ignore_discard=True)
    if len(sys.argv) == 3:
        Path(sys.argv[2]).write_bytes(body)
        say({**said, "bytes": len(body)})
    else:
        say({**said, "body": body.decode(errors="replace")})


if __name__ == "__main__":
    main()
