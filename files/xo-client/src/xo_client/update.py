# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the client of this laptop to the version that the school has published, as root, and back where that does not
work. `xo-update.service` starts it by itself, `xo-push@.service` because a technician asked through ssh.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sys
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Callable, NamedTuple

from xo_client import apt, children, laptop, publication, server, update_plan, update_record, words
from xo_client.errors import Trouble
from xo_client.registration import HOST
from xo_client.update_guard import Guard
from xo_client.update_plan import CLIENT, SCHOOL, Check
from xo_client.update_record import Record

_QUIET, _PATIENCE = 300.0, 1200.0  # seconds in which nobody touches the laptop, and for which that is waited for
_AT_REST = 60.0  # seconds for a backup to end, where a technician waits
_CHECK_SECONDS = 300.0  # of one child's self-check
_AGAIN, _GONE, _LOOK = 20.0, 300.0, 15.0  # seconds: between two checks, for a server to come back, between two looks
_DPKG_TRIES = 5
_ROOM = 16 << 20  # bytes that must be free before anything begins
_UPDATER = "/usr/lib/xo-client/update"
_CHECK = ("/usr/bin/xo-backup", "self-check", "--json")
_SSHD = ("ssh.service", "sshd.service")  # Debian's name and Fedora's
_UNITS = ("xo-update.timer", "xo-push.socket")
_SERVICES = ("xo-update.service", "xo-push@0.service")


class Result(NamedTuple):
    """How it went."""

    outcome: str  # of update_record.OUTCOMES
    reason: str  # of words.UPDATES
    message: str
    wanted: str = ""
    bad: str = ""


class Stop(Exception):
    """The run ends here, with this result."""

    def __init__(self, outcome: str, reason: str, message: str = "", wanted: str = "", bad: str = "") -> None:
        super().__init__(reason)
        self.result = Result(outcome, reason, message or words.UPDATES[reason], wanted, bad)


def main(arguments: list[str], guard: Guard, *, mine: bool) -> int:
    """Do what `arguments` say (nothing, `pushed` or `self-check`) and return the exit code.

    `mine`: no other update runs, and none can while this one does.
    """
    if arguments == ["self-check"]:
        return _self_check()
    asked = arguments == ["pushed"]
    was = apt.installed(CLIENT)[0]
    try:
        if not mine:
            raise Stop("later", "another")
        if guard.is_set():
            raise Stop("failed", "stuck")
        result = _run(guard, was, asked=asked)
    except Stop as stop:
        result = stop.result
    except OSError as error:
        # Whatever this laptop's own disk refuses: before the guard is set nothing has changed, and it holds after that.
        reason = "stuck" if guard.is_set() else "disk"
        result = Result("failed", reason, f"{words.UPDATES[reason]} ({words.shown(str(error))[:200]})")
    record = _record(result, was, guard)
    if mine and (result.outcome != "later" or result.reason == "gone"):
        with suppress(OSError):
            update_record.write(record, guard.record)
    if mine and result.reason != "stuck" and guard.is_set():
        guard.remove()
    if mine:
        apt.clear()
        if not guard.is_set():
            guard.clear()  # a way back that was not needed is room for documents
    _tell(record, asked=asked)
    return 1 if result.outcome == "failed" and not asked else 0


def _record(result: Result, was: str, guard: Guard) -> Record:
    before = update_record.read(guard.record)
    # What did not work is remembered over all that happens until another version does.
    bad = result.bad or (before.bad if before and result.outcome != "updated" else "")
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Record(result.outcome, apt.installed(CLIENT)[0], was, result.wanted, result.message, now, bad)


def _tell(record: Record, *, asked: bool) -> None:
    if not asked:
        print(record.message)
        return
    print(f"{record.outcome}: {record.message}", file=sys.stderr)  # the log
    answer = {"format": 1, **{name: getattr(record, name) for name in ("outcome", "version", "was", "message")}}
    with suppress(OSError):  # who asked may be gone
        print(json.dumps(answer), flush=True)


def _run(guard: Guard, was: str, *, asked: bool) -> Result:
    if not apt.is_here():
        raise Stop("current", "no-apt")
    if not was or not apt.SOURCE.exists():
        raise Stop("failed", "no-source")
    reason = update_plan.not_now(laptop.power(), metered=not asked and laptop.metered(), asked=asked)
    if reason:
        raise Stop("later", reason)
    before = update_record.read(guard.record)
    bad = before.bad if before and not asked else ""
    hint = publication.fetch(HOST)
    if hint is None and not asked:
        raise Stop("later", "away")
    whole = all(apt.installed(name)[1] for name in (CLIENT, SCHOOL))
    if hint and whole and hint == (was, apt.installed(SCHOOL)[0]):
        return Result("current", "current", words.UPDATES["current"], was)
    if hint and not asked and hint == (bad, apt.installed(SCHOOL)[0]) and before:
        raise Stop("later", "bad", before.message)  # it is said in the record already
    _room(guard)
    _refresh()
    _take_school()
    offered = update_plan.newest(apt.offered(CLIENT), apt.is_newer)
    version = update_plan.wanted(was, apt.installed(CLIENT)[1], offered, apt.is_newer)
    if not version:
        older = "older" if offered != was else "current"
        return Result("current", older, words.UPDATES[older], offered)
    if version == bad and before:
        raise Stop("later", "bad", before.message)
    if not asked and not children.nobody_there(_QUIET, _PATIENCE):
        raise Stop("later", "touched")
    return _take_client(guard, was, version, asked=asked)


def _room(guard: Guard) -> None:
    guard.clear()
    for place in (guard.state, Path("/usr")):
        if shutil.disk_usage(place).free < _ROOM:
            raise Stop("failed", "disk")


def _refresh() -> None:
    ended = apt.refresh()
    if not ended.well:
        raise Stop(*_failed(ended))


def _failed(ended: apt.Ended) -> tuple[str, str, str]:
    print(ended.err.strip(), file=sys.stderr)  # the log has all of it
    reason, message = update_plan.apt_trouble(ended.err)
    return ("later" if reason in ("away", "locked") else "failed", reason, message)


def _take_school() -> None:
    """Install the school's newer keys and addresses: what they are for, the next list, must be good with them."""
    there, whole = apt.installed(SCHOOL)
    version = update_plan.wanted(there, whole, update_plan.newest(apt.offered(SCHOOL), apt.is_newer), apt.is_newer)
    if version:
        ended = apt.install(SCHOOL, version)
        if not ended.well:
            raise Stop(*_failed(ended))
        _refresh()


def _take_client(guard: Guard, was: str, version: str, *, asked: bool) -> Result:
    """Install `version`, see whether it works, and go back to `was` where it does not."""
    last = update_record.read(guard.record)
    users = children.children()
    before = _checks([user.pw_name for user in users])
    ill = update_plan.ill(before)
    # It may be over in an hour, a fault of the laptop or of the server. If not, it may be the very thing that the new
    # version mends, so each version is tried once.
    if ill and not (last and last.wanted == version):
        raise Stop("failed", "ill", words.UPDATES["ill"].format(why=ill), version)
    # Before the way back is set and the children's backups wait: the network may be slow.
    ended = apt.download(CLIENT, version)
    if not ended.well:
        raise Stop(*_failed(ended), version)
    guard.back.mkdir(mode=0o700)
    apt.repack(CLIENT, guard.package)
    if apt.installed(CLIENT)[0] != was:  # somebody ran apt by hand while this waited
        raise Stop("later", "locked")
    cut_off = Result("failed", "cut-off", words.UPDATES["cut-off"].format(version=version), version)
    if last and last.message == cut_off.message:  # twice: it may be what stops the laptop
        cut_off = cut_off._replace(bad=version)
    with children.at_rest(users, _AT_REST if asked else 0.0) as rest:
        if not rest:
            raise Stop("later", "running")
        guard.set(_record(cut_off, was, guard).text())
        ended = apt.install(CLIENT, version)
    if not ended.well:
        failed = _failed(ended)
        if apt.installed(CLIENT) != (was, True):
            _go_back(guard, users, was)
            if failed[1] == "apt":  # no disk and no lock, so it is the package's own doing
                raise Stop("failed", "bad", _bad(version, failed[2]), version, version)
        raise Stop(*failed, version)
    fell = _fallen(before)
    if not fell:
        return Result("updated", "updated", words.UPDATES["updated"].format(version=version), version)
    # A network that is gone now and back with the version before would make any version a bad one, for good.
    there = _is_there()
    _go_back(guard, users, was)
    if not there or not (ill or update_plan.is_to_blame(list(fell), _checks(list(before)))):
        raise Stop("later", "gone", wanted=version)
    raise Stop("failed", "bad", _bad(version, next(iter(fell.values())).message), version, version)


def _bad(version: str, why: str) -> str:
    return words.UPDATES["bad"].format(version=version, why=why)


def _fallen(before: dict[str, Check]) -> dict[str, Check]:
    """Return the checks that do not work with the new version; wait for a server that is gone for a moment."""
    end = time.monotonic() + _GONE
    last = False
    while True:
        after = _checks([who for who, check in before.items() if check.well])
        fell = update_plan.fallen(before, after)
        if not fell or last:
            return {who: after[who] for who in fell}
        last = True
        time.sleep(_AGAIN)
        # Asked by the old version, which is still in the memory of this process.
        while not _is_there() and time.monotonic() < end:
            time.sleep(_LOOK)


def _is_there() -> bool:
    try:
        server.time_now(HOST)
    except Trouble:
        return False
    return True


def _go_back(guard: Guard, users: list[children.User], was: str) -> None:
    """Put the version `was` back, or leave that to the next start."""
    with children.at_rest(users, _AT_REST):
        for attempt in range(_DPKG_TRIES):
            ended = apt.install_file(guard.package)
            if ended.well and apt.installed(CLIENT) == (was, True):
                return
            print(ended.err.strip(), file=sys.stderr)
            time.sleep(attempt * _LOOK)
    raise Stop("failed", "stuck")


def _checks(who: list[str]) -> dict[str, Check]:
    """Return what the installed version's self-checks say: the updater's own, nobody's, and each child's."""
    names = dict.fromkeys([update_plan.UPDATER, update_plan.NOBODY, *who])
    return {name: _check(name) for name in names}


def _check(name: str) -> Check:
    # As the child: the client is the child's program, and reads what the child may have made of its profile.
    command, home = [_UPDATER, "self-check"], "/root"
    try:
        if name != update_plan.UPDATER:
            user = pwd.getpwnam(name)
            command = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups", "--", *_CHECK]
            home = user.pw_dir
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": home}
        ended = apt.run(command, _CHECK_SECONDS, environment)
    except (OSError, KeyError) as error:
        return Check(False, str(error))
    lines = ended.out.strip().splitlines() or ended.err.strip().splitlines() or [""]
    try:
        said = json.loads(lines[-1])["message"]
    except (ValueError, RecursionError, KeyError, TypeError):
        said = lines[-1]
    return Check(ended.well, words.shown(str(said))[:200])


def _self_check() -> int:
    """Prove that this updater can bring the next version: whoever breaks it breaks it for ever."""
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
