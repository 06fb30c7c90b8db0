# SPDX-License-Identifier: GPL-3.0-or-later
"""Known holes of rsync and of the shells that confined it before, by number, each tried on the gate.

Only what a command can say. What sits in rsync's own protocol is tried from behind it: test_owned.py takes rsync for
lost, and test_stream.py sends what no honest rsync would. The table is in docs/threat-model.md.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from siege import Refuse

TABLE = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"], "docs/threat-model.md")
PUSH = "rsync --server -ltrze.iLsfxCIvu"

HOLES = {
    # rsync
    "CVE-2003-0962: a heap of the daemon's overrun": "rsync --server --daemon .",
    "CVE-2004-0792: a path that climbs when it is cleaned": f"{PUSH} . datastore-current/./../../SHC12345678",
    "CVE-2007-6199: links of a daemon's module that lead out": "rsync --server --daemon --config=documents/own.conf .",
    "CVE-2007-6200: hidden files by backup directory": f"{PUSH} --backup-dir=../datastore . documents",
    "CVE-2007-6200: hidden files by partial directory": f"{PUSH} --partial-dir=../datastore . documents",
    "CVE-2007-6200: hidden files by link destination": f"{PUSH} --link-dest=../../SHC12345678/documents . documents",
    "CVE-2008-1720: a heap overrun by attributes": "rsync --server -ltrXe.iLsfxCIvu . documents",
    "CVE-2014-2855: a daemon that loops over its secrets": "rsync --server --daemon --password-file=/etc/shadow .",
    "CVE-2017-16548: a name of an attribute without an end": "rsync --server -ltrXze.iLsfxCIvu . datastore-current",
    "CVE-2017-17433: a daemon's list of files not looked at": "rsync --server --daemon --dparam=path=/ .",
    "CVE-2017-17434: a daemon's fuzzy names not looked at": f"{PUSH} --fuzzy . documents",
    "CVE-2018-5764: arguments sent after the check": "rsync --server -sltre.iLsfxCIvu . documents",
    "CVE-2018-5764: the same, in words": f"{PUSH} --protect-args --protect-args . documents",
    "CVE-2026-53783: rrsync's list passed by --copy-unsafe-links": "rsync --server --sender -ltre.i --copy-unsafe-links . datastore-latest",
    "CVE-2026-53783: rrsync's list passed by -D": "rsync --server -ltrDe.i . documents",
    "CVE-2026-53783: rrsync's list passed by --log-file": f"{PUSH} --log-file=documents/log . documents",
    "CVE-2026-53785: parents made that were only implied": "rsync --server -ltrRe.i . documents",
    "CVE-2026-53794: no limit of memory": f"{PUSH} --max-alloc=0 . documents",
    "CVE-2026-53795: a temporary directory by its whole path": f"{PUSH} --temp-dir=/library/users . documents",
    "CVE-2026-53795: a link destination by its whole path": f"{PUSH} --link-dest=/library/users/SHC12345678/documents . documents",
    "CVE-2026-53796: a destination that is entered through a link": f"{PUSH} -K . documents/link/",
    "CVE-2026-53799: access lists": "rsync --server -ltrAe.i . documents",
    "CVE-2026-53799: attributes": f"{PUSH} --xattrs . documents",
    # rssh
    "CVE-2004-1161: rssh, a program by rsync's -e": "rsync -e id documents x:",
    "CVE-2004-1161: rssh, a program by scp's -S": "scp -S id x y:",
    "CVE-2012-2251: rssh, -e behind --server": "rsync --server -e id . documents",
    "CVE-2012-2251: rssh, -e in a bundle of letters": "rsync -ltrve id . documents",
    "CVE-2012-2252: rssh, a program by --rsh": "rsync --server --rsh=id -ltre.i . documents",
    "CVE-2012-3478: rssh, variables before the command": f"RSYNC_RSH=id {PUSH} . documents",
    "CVE-2012-3478: rssh, IFS before the command": f"IFS=, {PUSH} . documents",
    "CVE-2019-1000018: rssh, a program by scp's -oProxyCommand": "scp -t -oProxyCommand=id .",
    "CVE-2019-3463: rssh, a configuration of her own": "rsync --server --daemon --config=datastore-current/own.conf .",
    "CVE-2019-3464: rssh, an alias of popt's from her home": "rsync --server --own-alias . documents",
    # scponly
    "CVE-2002-1469: scponly, a variable in ~/.ssh/environment": "scp -t .ssh/environment",
    "CVE-2002-1469: scponly, the same by rsync": f"{PUSH} . .ssh/environment",
    "CVE-2004-1162: scponly, a program by unison": "unison -rshcmd id -sshcmd id x y",
    "CVE-2005-4533: scponly, a program by a bundle of letters": "scp -vS id x y:",
    "CVE-2005-4533: scponly, rsync's -e in a bundle": "rsync -ve id x y:",
    "CVE-2007-6350: scponly, hooks of a repository": "svnserve -t -r documents",
    "CVE-2007-6350: scponly, hooks made by svnadmin": "svnadmin create documents/own",
    "CVE-2007-6415: scponly, scp's -F": "scp -F documents/own x y:",
    "CVE-2007-6415: scponly, scp's -o": "scp -o ProxyCommand=id x y:",
}  # fmt: skip


def number(text: str) -> str:
    return str(re.findall(r"CVE-\d{4}-\d+", text)[0])


@pytest.mark.parametrize("command", HOLES.values(), ids=HOLES)
def test_a_known_hole_is_closed_here(refuse: Refuse, command: str) -> None:
    assert refuse(command)


def test_the_table_says_which_are_tried() -> None:
    rows = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| CVE-")]
    tried = {number(row) for row in rows if row.endswith("| this command |")}
    assert tried == {number(name) for name in HOLES}
