# SPDX-License-Identifier: GPL-3.0-or-later
"""What the school's laptops install: publications of the client, one of which is current.

    /library/repository-key/<stamp>.key   root 0600 in a directory that is root's alone (repository_key.py)
    /library/push-key                     root 0600 (push_key.py)
    /library/repository/<stamp>/          what repository_build.py makes, and publication.json
    /library/repository/current           relative link, replaced by rename; `.<stamp>.new` while one is being made

A publication is made and checked under a hidden name, synced, renamed, and only then current: whatever is cut off,
laptops see the one before or the new one. Going back is a new publication of the old packages, because apt takes
nothing whose date is older than what it saw last.

Each publication has an xo-school with the keys that sign it, so a laptop knows the new key before the old one ends. All
keys that there are sign, but at the end of a rotation: the old ones are deleted when a publication without them stands.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from schoolserver import (
    alone,
    audit,
    client_package,
    durable,
    engines,
    handout,
    house,
    paths,
    push_key,
    repository_build,
    repository_key,
    school_package,
    stamps,
)
from schoolserver.audit import Who
from schoolserver.client_package import Given
from schoolserver.errors import Refusal
from schoolserver.repository_build import Order
from schoolserver.school_package import School

KEPT = 5  # publications before the current one that stay
RECORD = "publication.json"
CURRENT = "current"


@dataclass(frozen=True)
class Repository:
    """Where everything stands; tests stand elsewhere."""

    at: Path = paths.REPOSITORY
    keys: Path = paths.REPOSITORY_KEY
    audit: Path = paths.AUDIT
    lock: Path = paths.STATE / "repository.lock"
    workshop: Path = paths.REPOSITORY_WORKSHOP
    push: Path = paths.PUSH_KEY


@dataclass(frozen=True)
class Publication:
    """What publication.json says."""

    stamp: str
    version: str
    files: dict[str, str]  # SHA-256 by the name that is served
    keys: list[str]  # the names of the keys that signed it
    replaces: list[str]  # earlier publications that it stands for: not to be gone back to
    # Of publications before there was an xo-school, nothing:
    school: str = ""  # the version of xo-school
    school_digest: str = ""  # SHA-256 of it
    fingerprints: list[str] = field(default_factory=list)  # of the keys
    made_of: str = ""  # made_of() when it was made


@dataclass(frozen=True)
class Act:
    """What somebody does: a line of the audit trail."""

    now: datetime
    who: Who
    said: str


@dataclass(frozen=True)
class Change:
    """What came of it."""

    said: str  # one line for a person
    changed: bool = True


def publications(at: Path) -> list[Publication]:
    """Return the finished publications in `at`, oldest first; raise OSError."""
    found = []
    for directory in sorted(at.iterdir() if at.is_dir() else ()):
        if not stamps.is_stamp(directory.name):
            continue
        try:
            record = json.loads((directory / RECORD).read_text(encoding="utf-8"))
            found.append(Publication(**{**record, "stamp": directory.name}))
        except (ValueError, TypeError, FileNotFoundError) as error:
            raise Refusal(f"{directory / RECORD} cannot be read ({error}): remove {directory}") from error
    return found


def current(at: Path) -> str | None:
    """Return the stamp of the current publication, None where there is none; raise OSError."""
    try:
        return (at / CURRENT).readlink().name
    except FileNotFoundError:
        return None


def made_of(keys: Sequence[str], push: str) -> str:
    """Return a digest of what a publication is made of besides the client: names of keys, the push key, our own parts.

    Where today's is another than the current publication's, laptops are to get another one.
    """
    said = json.dumps([list(keys), push, school_package.kind(), handout.kind()])
    return hashlib.sha256(said.encode()).hexdigest()


def is_stale(where: Repository, standing: Publication) -> bool:
    """Say whether publishing the same again gives laptops something else than `standing`: other keys, script or page.

    Raise Refusal or OSError.
    """
    return standing.made_of != made_of(repository_key.names(where.keys), push_key.public(where.push))


def leaving(found: Sequence[Publication], now: str | None) -> list[str]:
    """Return the stamps of `found` that nobody needs while `now` is current.

    Those are what never became current, what the current one stands for, and all but the last KEPT before it.
    """
    standing = next((one for one in found if one.stamp == now), None)
    if standing is None:
        return []
    now = standing.stamp
    later = [one.stamp for one in found if one.stamp > now]
    replaced = [one.stamp for one in found if one.stamp in standing.replaces]
    before = [one.stamp for one in found if one.stamp < now and one.stamp not in replaced]
    return sorted(later + replaced + before[: max(0, len(before) - KEPT)])


def publish(where: Repository, files: Sequence[Path], now: datetime, who: Who, *, older_too: bool = False) -> Change:
    """Publish the client's packages `files`; raise Refusal, with nothing changed, where that is no good."""
    given = client_package.together([client_package.read(file) for file in files])
    version = given.deb.version
    with _alone(where):
        standing = _standing(where)
        replaces: tuple[str, ...] = ()
        if standing is not None and not client_package.is_news(
            given, standing.version, standing.files, client_package.comes_after, older_too=older_too
        ):
            if not is_stale(where, standing):
                return Change(f"{client_package.NAME} {version} is published already", changed=False)
            replaces = (standing.stamp,)
        act = Act(now, who, f"published {client_package.NAME} {version} for laptops")
        stamp = _make(where, given, act, replaces)
    return Change(f"published {client_package.NAME} {version} as {stamp}")


def withdraw(where: Repository, now: datetime, who: Who) -> Change:
    """Make the packages of the publication before current again; raise Refusal where there is none."""
    with _alone(where):
        standing = _standing(where)
        before = [one for one in publications(where.at) if standing and one.stamp < standing.stamp]
        if standing is None or not before:
            raise Refusal("there is no earlier publication to go back to: see `xs repository list`")
        back = before[-1]
        said = f"withdrew {client_package.NAME} {standing.version}; {back.version} is published again"
        _make(where, _packages(where, back), Act(now, who, said), (back.stamp, standing.stamp))
    return Change(said)


def rotate_key(where: Repository, now: datetime, who: Who, *, finish: bool = False) -> Change:
    """Add a key that signs beside the old one; or with `finish` end the old ones. Sign the current publication anew."""
    with _alone(where):
        names, standing = repository_key.names(where.keys), _standing(where)
        if finish and len(names) < 2:
            raise Refusal("there is one key only: `xs repository rotate-key` makes the next one first")
        if finish:
            said = "the old key is gone: laptops that do not know the new one get no updates any more"
            _sign_anew(where, standing, names[-1:], Act(now, who, said))
            repository_key.drop(where.keys, names[:-1])
            return Change(said)
        # What an interrupted call left to do is done first, and is all.
        cut_off = standing is not None and standing.keys != list(names)
        if len(names) > 1 and not cut_off:
            raise Refusal("a new key is there already: `xs repository rotate-key --finish` ends the old one")
        while len(names) < 2:
            repository_key.make(where.keys, where.workshop, now)
            names = repository_key.names(where.keys)
        said = "a new key signs beside the old one; when every laptop knows it: `xs repository rotate-key --finish`"
        _sign_anew(where, standing, names, Act(now, who, said))
    return Change(said)


def export(where: Repository, stick: Path) -> str:
    """Write what a technician takes to laptops into the directory `stick`; return xo-client's version.

    Raise Refusal, with nothing changed, where nothing is published or the directory holds anything else; raise OSError.
    """
    with _alone(where):
        standing = _standing(where)
        if standing is None or not standing.school:
            raise Refusal("nothing is published that a stick could hold: `xs repository publish` comes first")
        files = {name: package.file.read_bytes() for name, package in _packages(where, standing).served.items()}
        school = School(standing.school, standing.school_digest)
        for file in (where.at / standing.stamp).rglob(school.file_name):
            files[school.file_name] = file.read_bytes()
        if hashlib.sha256(files.get(school.file_name, b"")).hexdigest() != school.digest:
            raise Refusal(f"{where.at / standing.stamp} is not what was published there: publish the packages anew")
    files[handout.INSTALL] = handout.script()
    files[handout.README] = handout.readme(standing.version).encode()
    handout.fill(stick, files)
    return standing.version


@contextmanager
def _alone(where: Repository) -> Iterator[None]:
    # Without the disk there is an empty directory: a key made in that would be lost, and laptops would know it.
    if not (where.at.parent / paths.USERS.name).is_dir():
        raise Refusal(f"the library is not at {where.at.parent}: see `systemctl status library.mount`")
    with alone.alone(where.lock, "another `xs repository` is at work: wait for its end"):
        where.at.mkdir(mode=0o755, exist_ok=True)
        where.at.chmod(0o755)
        _clear(where)
        yield


def _clear(where: Repository) -> None:
    for left in where.at.glob(".*"):
        if left.is_symlink():
            left.unlink()
        else:
            shutil.rmtree(left)
    for stamp in leaving(publications(where.at), current(where.at)):
        # Under a hidden name first: what is half gone must not be gone back to.
        going = (where.at / stamp).rename(where.at / f".{stamp}.going")
        shutil.rmtree(going)


def _standing(where: Repository) -> Publication | None:
    now = current(where.at)
    return next((one for one in publications(where.at) if one.stamp == now), None)


def _packages(where: Repository, publication: Publication) -> Given:
    files = [file for file in (where.at / publication.stamp).rglob("*") if file.name in publication.files]
    given = client_package.together([client_package.read(file) for file in files])
    if given.digests != publication.files:
        raise Refusal(f"{where.at / publication.stamp} is not what was published there: publish the packages anew")
    return given


def _sign_anew(where: Repository, standing: Publication | None, keys: Sequence[str], act: Act) -> None:
    if standing is not None:
        _make(where, _packages(where, standing), act, (standing.stamp,), keys)
    else:
        _record(where, act)


def _make(where: Repository, given: Given, act: Act, replaces: Sequence[str] = (), keys: Sequence[str] = ()) -> str:
    """Make, check and switch to a publication of `given`, signed by `keys` (all, where none is named); say which."""
    keys = keys or repository_key.names(where.keys) or [repository_key.make(where.keys, where.workshop, act.now)]
    push, found = push_key.ensure(where.push), publications(where.at)
    # Also where somebody removed the publications: laptops would take no xo-school that is older than theirs.
    stamp = stamps.next_stamp(act.now, max([keys[-1], *(one.stamp for one in found)]))
    standing = _standing(where)
    before = School(standing.school, standing.school_digest) if standing and standing.school else None
    new = where.at / f".{stamp}.new"
    new.mkdir()
    try:
        with repository_key.ring(where.keys, keys, where.workshop) as ring:
            school = repository_build.build(new, Order(given, push, before, stamp), ring)
            made = Publication(
                stamp, given.deb.version, given.digests, list(ring.names), list(replaces),
                school.version, school.digest, ring.fingerprints(), made_of(keys, push),
            )  # fmt: skip
        durable.replace(new / RECORD, json.dumps(asdict(made), indent=1) + "\n", 0o644)
        engines.of(where.at).sync(where.at)
        _record(where, act)
    except (Refusal, OSError) as error:
        shutil.rmtree(new, ignore_errors=True)
        raise Refusal(f"nothing is published, all is as it was: {error}") from error
    new.rename(where.at / stamp)
    durable.sync_directory(where.at)
    link = where.at / f".{CURRENT}"
    link.symlink_to(stamp)
    link.rename(where.at / CURRENT)
    durable.sync_directory(where.at)
    _clear(where)
    return stamp


def _record(where: Repository, act: Act) -> None:
    entry = audit.Entry(stamps.written(act.now), act.who.name, act.who.place, "", act.said)
    audit.record(where.audit, [entry], house.readers())
