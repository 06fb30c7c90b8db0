# SPDX-License-Identifier: GPL-3.0-or-later
"""What a technician should know of the school server, and what of it needs a person. Pure: cli_status.py looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from schoolserver import pins, stamps
from schoolserver.decay import Decayed
from schoolserver.engines import KINDS

MOST = 20  # lines of one kind that people see; --json has all
SOON = 8  # weeks: so long it may take to buy a disk
INCOMPLETE_DAYS = 3  # runs that end 23 for so long are told (DESIGN.md section 5)
_LONG = 104  # weeks: within two years a school changes more than a forecast can tell
_MOSTLY = 0.9  # of the laptops late: this is no laptop's fault
_UNCOUNTABLE = 1 << 62  # bytes, as allowance.py says of what cannot be looked into


@dataclass(frozen=True)
class Laptop:
    """A laptop in use: what there is to say whether it is late."""

    tree: str  # that it writes
    nick: str
    class_name: str
    registered: str  # server time, as in account.json
    last_run: str | None  # the stamp of the newest snapshot of its tree


@dataclass(frozen=True)
class Late:
    """A laptop without a completed run for too long."""

    tree: str
    nick: str
    class_name: str
    last_run: str | None
    days: int  # since then, or since it registered


@dataclass(frozen=True)
class Incomplete:
    """A laptop whose runs end in part only (rsync's 23)."""

    tree: str
    since: str  # server time, UTC
    days: int


@dataclass(frozen=True)
class Loss:
    """More than half of a Journal was gone after `stamp`, which is pinned until it is back or a person lets it go."""

    tree: str
    stamp: str
    documents: int  # that left
    since: str  # the stamp of the run that found it


@dataclass(frozen=True)
class Unreadable:
    """A file of the newest backup that the disk did not give back when its snapshot was taken."""

    tree: str
    path: str  # in the tree
    stamp: str  # the snapshot that has it as the one before, or not at all


@dataclass(frozen=True)
class DamagedDocument:
    """A version of a document in which the laptop wrote something wrong; it is kept as it is."""

    tree: str
    uid: str
    first: str
    last: str
    damaged: str  # what is wrong


@dataclass(frozen=True)
class Holder:
    """What one learner has that rotation never frees."""

    learner: str
    nick: str
    bytes: int  # in incoming, documents/, power-logs/ and keepsakes, as the gate counted at the last session's end
    keepsakes: int
    pinned: int  # snapshots
    pinned_bytes: int = 0  # of documents that only they hold, as far as the catalog knows


@dataclass(frozen=True)
class Disk:
    """How full the disk is."""

    percent: int
    full_percent: int  # above this no new backups are taken
    weeks_left: float | None  # until then, None: it does not fill up, or too little is known
    lacking: int = 0  # bytes of the library's image that the disk below it has not set aside


@dataclass(frozen=True)
class Rotation:
    """What the last rotation left in rotation.json."""

    ended: str
    removed: int
    stopped: str  # why it did not come to its end, "" when it did
    failed: dict[str, str]  # {tree: why}


@dataclass(frozen=True)
class Status:
    """What there is to know."""

    disk: Disk
    trees: int
    laptops: int  # in use
    last_run: str | None  # the newest snapshot of all
    late_days: int
    late: list[Late] = field(default_factory=list)
    incomplete: list[Incomplete] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)  # one line for each account, or pins, that cannot be read
    unreadable: list[Unreadable] = field(default_factory=list)
    damaged_documents: list[DamagedDocument] = field(default_factory=list)
    rotation: Rotation | None = None
    decayed: list[Decayed] = field(default_factory=list)  # what verifying found
    verified: str = ""  # the stamp of the end of the last pass, "" before the first
    holders: list[Holder] = field(default_factory=list)  # the heaviest first


@dataclass(frozen=True)
class Line:
    """One line for a person: what it is about, which tree if it is about one, and what is to be said."""

    about: str
    tree: str
    said: str


def late(laptops: Iterable[Laptop], now: datetime, late_days: int) -> list[Late]:
    """Return which of `laptops` had no completed run for `late_days` days before `now`, the longest first."""
    found = []
    for one in laptops:
        since = stamps.time_of(one.last_run) if one.last_run else _time(one.registered)
        if since and (age := now - since) >= timedelta(days=late_days):
            found.append(Late(one.tree, one.nick, one.class_name, one.last_run, age.days))
    return sorted(found, key=lambda one: (-one.days, one.tree))


def incomplete(tree: str, since: datetime, now: datetime) -> Incomplete | None:
    """Return that the runs of `tree` end in part only since `since`, None while that is not long ago."""
    days = (now - since).days
    return Incomplete(tree, stamps.written(since), days) if days >= INCOMPLETE_DAYS else None


def losses(tree: str, pinned: pins.Pins) -> list[Loss]:
    """Return the bulk losses of `tree` that its pins tell of, by stamp."""
    found = sorted((stamp, pin) for stamp, pin in pinned.items() if pins.BULK_LOSS in pin.why)
    return [Loss(tree, stamp, pin.documents, pin.since) for stamp, pin in found]


def rotation_of(said: object) -> Rotation | None:
    """Return what the JSON of rotation.json says of the last rotation; None where it is not what was expected."""
    last = said.get("last") if isinstance(said, dict) else None
    if not isinstance(last, dict):
        return None
    failed, removed = last.get("failed"), last.get("removed")
    return Rotation(
        str(last.get("ended") or ""),
        removed if type(removed) is int else len(removed) if isinstance(removed, list | dict) else 0,
        str(last.get("stopped") or ""),
        {str(tree): str(why) for tree, why in failed.items()} if isinstance(failed, dict) else {},
    )


def needs_person(status: Status) -> list[Line]:
    """Return what a person should see to, the most important first."""
    return [
        *_disk_lines(status),
        *_few("decayed", (_decayed(one) for one in status.decayed)),
        *_few("disk", ((one.tree, _unreadable(one)) for one in status.unreadable)),
        *_few("damaged", (("", one) for one in status.damaged)),
        *_rotation_lines(status.rotation),
        *_few("loss", ((one.tree, _loss(one)) for one in status.losses)),
        *_late_lines(status),
        *_few("incomplete", ((one.tree, _incomplete(one)) for one in status.incomplete)),
    ]


def facts(status: Status) -> list[Line]:
    """Return what there is to know besides."""
    found = [Line("laptops", "", f"{status.laptops} in use, {status.trees} trees")]
    found.append(Line("last run", "", status.last_run or "none yet"))
    found.append(Line("disk", "", f"{status.disk.percent} % full; {_forecast(status.disk)}"))
    if status.rotation:
        said = f"ended {status.rotation.ended}, {status.rotation.removed} snapshots removed"
        found.append(Line("rotation", "", said))
    found.append(Line("verified", "", status.verified or "not yet"))
    if status.damaged_documents:
        trees = len({one.tree for one in status.damaged_documents})
        said = f"{len(status.damaged_documents)} versions as broken laptops wrote them, in {trees} trees: see --json"
        found.append(Line("documents", "", said))
    return found


def _disk_lines(status: Status) -> Iterator[Line]:
    disk = status.disk
    if disk.lacking:
        size = f"{disk.lacking / 1e6:.1f} MB"
        yield Line("disk", "", f"{size} of the library's image are no longer set aside for it: run site.yml")
    if disk.percent > disk.full_percent:
        yield Line("disk", "", f"{disk.percent} % full: above {disk.full_percent} % nothing new is taken")
    elif disk.weeks_left is not None and disk.weeks_left < SOON:
        yield Line("disk", "", f"{disk.percent} % full; {_forecast(disk)}")
    else:
        return
    yield Line("", "", "old versions go by themselves, the heaviest learners' first; what is never freed by itself:")
    for one in status.holders:
        size = f"{one.bytes / 1e9:.1f} GB" if one.bytes < _UNCOUNTABLE else "more than can be counted"
        name = f"{one.nick}: " if one.nick else ""
        pinned = f"{one.pinned} pinned snapshots"
        if one.pinned:
            pinned = f"{pinned} with {one.pinned_bytes / 1e9:.1f} GB of their own"
        yield Line("", one.learner, f"{name}{size}, {one.keepsakes} keepsakes, {pinned}")
    if status.holders:
        yield Line("", "", "xs keepsake list, xs snapshot unpin; or the child deletes, and then xs keepsake remove")


def _rotation_lines(rotation: Rotation | None) -> Iterator[Line]:
    if rotation is None:
        return
    if rotation.stopped:
        yield Line("rotation", "", f"stopped at {rotation.ended}: {rotation.stopped}")
    yield from _few("rotation", ((tree, f"not rotated: {why}") for tree, why in sorted(rotation.failed.items())))


def _late_lines(status: Status) -> Iterator[Line]:
    number = len(status.late)
    # A holiday, or a network that is down, makes all of them late: one line then, instead of three hundred.
    if number > 1 and (number == status.laptops or (number > MOST and number >= _MOSTLY * status.laptops)):
        said = f"{number} of {status.laptops} laptops without a completed run for {status.late_days} days: a holiday?"
        yield Line("late", "", f"{said} Else look at the network, and at `systemctl status 'xs-*'`")
        return
    yield from _few("late", ((one.tree, _late(one)) for one in status.late))


def _few(about: str, rows: Iterable[tuple[str, str]]) -> Iterator[Line]:
    found = list(rows)
    for tree, said in found[:MOST]:
        yield Line(about, tree, said)
    if len(found) > MOST:
        yield Line(about, "", f"and {len(found) - MOST} more: see --json")


def _forecast(disk: Disk) -> str:
    if disk.weeks_left is None:
        return "when it will be full cannot be told yet, or it does not fill up"
    if disk.weeks_left > _LONG:
        return f"{disk.full_percent} % in more than two years"
    return f"{disk.full_percent} % in about {disk.weeks_left:.0f} weeks"


def _late(one: Late) -> str:
    who = " ".join(filter(None, (one.nick, one.class_name and f"({one.class_name})")))
    since = f"last {one.last_run}" if one.last_run else "none yet"
    return f"{who}: no completed run for {one.days} days, {since}; in store? xs laptop retire {one.tree}"


def _loss(one: Loss) -> str:
    act = f"xs restore {one.tree}, or xs snapshot unpin {one.tree} {one.stamp}"
    return f"{one.documents} documents gone after {one.stamp}, seen {one.since}: {act}"


def _decayed(one: Decayed) -> tuple[str, str]:
    tree, _, path = one.path.partition("/")
    act = "look at the disk (dmesg, smartctl)"
    if path.partition("/")[0] in {kind.incoming for kind in KINDS}:
        act = f"{act}; remove the file, and the laptop sends it again"
    elif path:
        act = f"{act}; other versions: xs restore {tree}, or the laptop has it still"
    return tree, f"{path}: {one.why}: {act}".removeprefix(": ")


def _unreadable(one: Unreadable) -> str:
    return f"{one.path} could not be read for {one.stamp}; the laptop sends it again: look at the disk (dmesg)"


def _incomplete(one: Incomplete) -> str:
    return f"since {one.since} some files of each backup cannot be read on the laptop (23): look at its disk"


def _time(written: str) -> datetime | None:
    try:
        return datetime.fromisoformat(written).astimezone(UTC)
    except ValueError:
        return None
