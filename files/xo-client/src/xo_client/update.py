# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the client of this laptop to the version that the school has published, as root, and back where that does not
work. `xo-update.service` starts it by itself, `xo-push@.service` because a technician asked through ssh.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from xo_client import apt, children, laptop, publication, server, update_checks, update_plan, update_record, words
from xo_client.errors import Trouble
from xo_client.registration import HOST
from xo_client.update_guard import Guard
from xo_client.update_plan import CLIENT, SCHOOL, Check
from xo_client.update_record import Record

_QUIET, _PATIENCE = 300.0, 1200.0  # seconds in which nobody touches the laptop, and for which that is waited for
_AT_REST = 60.0  # seconds for a backup to end, where a technician waits
_AGAIN, _GONE, _LOOK = 20.0, 300.0, 15.0  # seconds: between two checks, for a server to come back, between two looks
_DPKG_TRIES = 5
_ROOM = 16 << 20  # bytes that must be free before anything begins


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


def main(arguments: list[str], guard: Guard, refused: OSError | None) -> int:
    """Do what `arguments` say (nothing or `pushed`) and return the exit code; `refused` is what `alone()` yields."""
    asked = arguments == ["pushed"]
    was = ""
    try:
        was = apt.installed(CLIENT)[0]
        if isinstance(refused, BlockingIOError):
            raise Stop("later", "another")
        if refused:
            raise refused
        if guard.is_set():
            raise Stop("failed", "stuck")
        result = _run(guard, was, asked=asked)
    except Stop as stop:
        result = stop.result
    except OSError as error:
        # Before the guard is set nothing has changed, and it holds after that.
        reason, message = update_plan.cause(str(error))
        stuck = Result("failed", "stuck", words.UPDATES["stuck"])
        result = stuck if guard.is_set() else Result("failed", reason, message)
        print(error, file=sys.stderr)  # the log
    record = _record(result, was, guard)
    if not refused:
        if result.outcome != "later" or result.reason == "gone":
            with suppress(OSError):
                update_record.write(record, guard.record)
        try:
            _leave(guard, result)
        except OSError as error:
            print(error, file=sys.stderr)
            record = record._replace(outcome="failed", message=words.UPDATES["stuck"])
    _tell(record, asked=asked)
    return 1 if record.outcome == "failed" and not asked else 0


def _leave(guard: Guard, result: Result) -> None:
    """Leave of the way back what is still needed; raise OSError where it stays, and the next start goes back."""
    apt.clear()
    if result.reason != "stuck" and guard.is_set():
        guard.remove()
    if not guard.is_set():
        guard.clear()  # a way back that was not needed is room for documents


def _record(result: Result, was: str, guard: Guard) -> Record:
    before = update_record.read(guard.record)
    # What did not work is remembered over all that happens until another version does.
    bad = result.bad or (before.bad if before and result.outcome != "updated" else "")
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        version = apt.installed(CLIENT)[0]
    except OSError:  # dpkg cannot be started at all
        version = was
    return Record(result.outcome, version, was, result.wanted, result.message, now, bad)


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
    reason, message = update_plan.cause(ended.err)
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
    before = update_checks.all_of([user.pw_name for user in users])
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
    if not there or not (ill or update_plan.is_to_blame(list(fell), update_checks.all_of(list(before)))):
        raise Stop("later", "gone", wanted=version)
    raise Stop("failed", "bad", _bad(version, next(iter(fell.values())).message), version, version)


def _bad(version: str, why: str) -> str:
    return words.UPDATES["bad"].format(version=version, why=why)


def _fallen(before: dict[str, Check]) -> dict[str, Check]:
    """Return the checks that do not work with the new version; wait for a server that is gone for a moment."""
    end = time.monotonic() + _GONE
    last = False
    while True:
        after = update_checks.all_of([who for who, check in before.items() if check.well])
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
