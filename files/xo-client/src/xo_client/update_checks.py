# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the installed version works on this laptop, asked before an update and after it: the updater's own check, and
each child's against the school server.
"""

from __future__ import annotations

import json
import os
import pwd
from typing import Callable, Iterable

from xo_client import apt, update_plan, words
from xo_client.update_plan import CLIENT, Check

_SECONDS = 300.0  # of one check
_UPDATER = "/usr/lib/xo-client/update"
_CLIENT = ("/usr/bin/xo-backup", "self-check", "--json")
_SSHD = ("ssh.service", "sshd.service")  # Debian's name and Fedora's
_UNITS = ("xo-update.timer", "xo-push.socket")
_SERVICES = ("xo-update.service", "xo-push@0.service")


def all_of(who: Iterable[str]) -> dict[str, Check]:
    """Return what the installed version's self-checks say: the updater's own, nobody's, and each child's."""
    names = dict.fromkeys([update_plan.UPDATER, update_plan.NOBODY, *who])
    return {name: check(name) for name in names}


def check(name: str) -> Check:
    """Return what the self-check of the user `name` says, or of the updater."""
    # As the child: the client is the child's program, and reads what the child may have made of its profile.
    command, home = [_UPDATER, "self-check"], "/root"
    try:
        if name != update_plan.UPDATER:
            user = pwd.getpwnam(name)
            command = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups", "--", *_CLIENT]
            home = user.pw_dir
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": home}
        ended = apt.run(command, _SECONDS, environment)
    except (OSError, KeyError) as error:
        return Check(False, str(error))
    lines = ended.out.strip().splitlines() or ended.err.strip().splitlines() or [""]
    try:
        said = json.loads(lines[-1])["message"]
    except (ValueError, RecursionError, KeyError, TypeError):
        said = lines[-1]
    return Check(ended.well, words.shown(str(said))[:200])


def of_the_updater() -> int:
    """Prove that this updater can bring the next version, and return the exit code.

    Whoever breaks the updater breaks it for ever.
    """
    steps: list[Callable[[], apt.Ended]] = [apt.refresh]
    if os.path.isdir("/run/systemd/system"):
        steps.append(lambda: apt.run(["systemctl", "is-active", *_UNITS], 30))
        steps.append(_units_are_sound)
        # A file of ours that sshd does not take would keep the technician out from the next start on. One that does
        # not run has no /run/sshd, and fails whatever its files say.
        if any(apt.run(["systemctl", "is-active", unit], 30).well for unit in _SSHD):
            steps.append(lambda: apt.run(["/usr/sbin/sshd", "-t"], 30))
    for step in steps:
        ended = step()
        if not ended.well:
            print(words.shown(ended.err.strip() or ended.out)[-200:])
            return 1
    if not apt.offered(CLIENT):
        print(words.UPDATES["half"])
        return 1
    print(words.UPDATES["current"])
    return 0


def _units_are_sound() -> apt.Ended:
    """Ask systemd whether it takes the files of our units, and starts them after the next start of the laptop too."""
    ended = apt.run(["systemctl", "show", "--property=Id,LoadState,WantedBy", *_UNITS, *_SERVICES], 30)
    unsound = update_plan.unsound(ended.out, len(_UNITS + _SERVICES))
    return ended._replace(code=1, err=unsound) if unsound else ended
