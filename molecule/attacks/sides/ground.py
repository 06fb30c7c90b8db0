# SPDX-License-Identifier: GPL-3.0-or-later
"""The school server under attack: what stands on it, what its log says, and what a learner's uid can do there."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from testinfra.backend.base import CommandResult

from server import USERS, Server

SETTINGS = "/etc/xs/accounts.toml"
_LOG_SECONDS = 10.0
# Jim's tree, the machine's settings, login names and registry, and the top of every tree. A name, a mode, an owner, a
# content: times are left out where a service may touch a file without changing it, and where btrfs makes them up (the
# place of a nested subvolume in a snapshot).
_LOOK = r"""
set -e
cd {users}
find {jim} -path '*/.state/*' -prune -o -printf 'jim %p %y %#m %U:%G %s %l\n'
find {jim} -path '*/.state' -prune -o ! -type d -printf 'jim %p %T@\n'
find {jim} -path '*/.state' -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
find . -mindepth 1 -maxdepth 2 \( -path './{eve}/datastore-latest' -o -path './{eve}/pins.json' \) -prune -o \
    -printf 'top %p %y %#m %U:%G %l\n'
find /etc /root/.ssh /var/lib/extrausers -printf 'etc %p %y %#m %U:%G %l\n'
find /etc /root/.ssh /var/lib/extrausers -type f -print0 | sort -z | xargs -0 sha256sum
sha256sum /var/lib/xs/registry.db
btrfs subvolume list --sort=path -r {users} | awk '{{print "read-only", $9}}' | grep {jim} || true
"""
_HISTORY = r"""
set -e
cd {top}
find {places} -mindepth 1 \( -name index -o -name checksums \) -prune -o -printf '%p %y %#m %U:%G %s %T@ %n %l\n'
find keepsakes -mindepth 2 -printf '%p %y %#m %U:%G %s %T@ %n %l\n'
find {places} keepsakes -type f -print0 | xargs -0 sha256sum
for place in {places}; do stat --format '%n %a %u:%g %y' $place; echo $place $(btrfs property get $place ro); done
"""


class Ground(Server):
    """One school server, on which a hostile laptop has a login."""

    _since = ""

    def fingerprint(self, jim: str, eve: str) -> list[str]:
        """Return a line for everything that Eve must not change."""
        return sorted(self.run(_LOOK.format(users=USERS, jim=jim, eve=eve)).splitlines())

    def history(self, tree: str, stamps: list[str]) -> set[str]:
        """Return a line for all that is to be known of those snapshots of `tree`, and of each of its keepsakes."""
        places = " ".join(f"datastore/{stamp}" for stamp in stamps)
        return set(self.run(_HISTORY.format(top=f"{USERS}/{tree}", places=places)).splitlines())

    def mark(self) -> None:
        """From here on, new_lines() tells."""
        # Not a cursor: journald keeps a file for each uid, and does not find its place in all of them.
        self._since = f"@{time.time():.6f}"  # hosts of the lab have this machine's clock

    def new_lines(self, *, of: str) -> list[str]:
        """Return what the program `of` said to the log since mark()."""
        # OpenSSH 9.8 and later speak as two programs.
        who = f"--identifier={of} --identifier={of}-session"
        return self.run(f"journalctl --quiet {who} --since={self._since} --output=cat").splitlines()

    def told(self, pattern: str, *, of: str) -> str:
        """Return the line of the program `of` since mark() that matches; fail if none comes within seconds."""
        until = time.monotonic() + _LOG_SECONDS
        while True:
            lines = self.new_lines(of=of)
            if found := [line for line in lines if re.search(pattern, line)]:
                return found[-1]
            assert time.monotonic() < until, f"{of} says nothing of {pattern!r}, but {lines[-20:]}"
            time.sleep(0.1)

    @contextmanager
    def settings(self, **changed: int) -> Iterator[None]:
        """Let the gate have other settings for a while: the permission part tells it, and reads them when it starts."""
        added = "".join(f"{name} = {value}\\n" for name, value in changed.items())
        kept = f"grep --invert-match --extended-regexp '^({'|'.join(changed)}) ' {SETTINGS}.kept"
        self.run(f"cp -p {SETTINGS} {SETTINGS}.kept && {{ {kept}; printf '{added}'; }} >{SETTINGS}")
        self.run("systemctl restart xs-permission.service")
        try:
            yield
        finally:
            self.run(f"mv {SETTINGS}.kept {SETTINGS} && systemctl restart xs-permission.service")

    def as_learner(self, uid: int, script: str, **names: object) -> CommandResult:
        """Run a Python `script` on the server with the uid, group and nothing else of a learner; `names` are set."""
        text = "".join(f"{name} = {value!r}\n" for name, value in names.items()) + script
        start = f"setpriv --reuid={uid} --regid={uid} --clear-groups --inh-caps=-all /usr/bin/python3 -IS -c"
        result: CommandResult = self.host.run(f"cd / && {start} {shlex.quote(text)}")
        return result

    def attempt(self, uid: int, script: str, **names: object) -> dict[str, Any]:
        """Return the dict `said` that `script` left, run as as_learner() does."""
        done = self.as_learner(uid, f"{script}\nimport json; print(json.dumps(said))", **names)
        assert done.rc == 0, done.stderr
        said = json.loads(done.stdout)
        assert isinstance(said, dict)
        return said

    def uid_of(self, tree: str) -> int:
        """Return the uid of the tree's learner."""
        return int(self.account(tree)["uid"])

    def failed_units(self) -> list[str]:
        """Return the parts of the school server that do not run."""
        return self.run("systemctl list-units --no-legend --plain --state=failed 'xs-*' ssh.service").split()
