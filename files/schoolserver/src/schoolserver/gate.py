# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: login shell and forced command of every laptop. Checks, locks, opens the jail, reports.

sshd runs it as `gate -c 'gate <tree>'`, with the laptop's command in SSH_ORIGINAL_COMMAND, under the learner's uid.
The order below is docs/architecture.md, "A run". Imports are few, because each session pays for them: pathlib, typing,
dataclasses and tomllib would double its time (tests/schoolserver/test_gate_bench.py).
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import stat
import sys
import syslog
import time

from schoolserver import allowance, grammar, jail, local_socket, stamps
from schoolserver.errors import Refusal
from schoolserver.grammar import Flag, Pull, Push, Xs
from schoolserver.names import TREE

USERS, LEARNERS, SOCKETS = "/library/users", "/etc/xs/learners", "/run/xs"  # as paths.py has them
REFUSED = 126
_LOCK = "lock"  # in .state
_MARKS = {"datastore-current": "complete", "documents": "complete-documents"}  # as engines.KINDS has them
_LOCK_SECONDS = 10.0  # a snapshot of the run before takes far less
_PLACE_SECONDS = 5.0
_REPORT_SECONDS = 10.0
_PLACES_ALONE = 4  # sessions at once while the permission service is down
_MOST_SEEDS = 10  # rsync takes twenty
_PROCESSES = 40  # of one learner at once, all sessions together: a session has seven, a fork bomb stops here
_MEMORY = 512 * 1024**2  # bytes of one process; rsync takes 40 MB for the 400,000 names that a learner may have
_FIRST_TO_GO = 500  # of 1000, for the kernel when memory runs out: a session is lost rather than a service
_COMPLETE = (0, 24)  # 24: files vanished while they were read, as on every live datastore
_PARTLY = 23  # some files could not be read on the laptop, or written here
INCOMPLETE = "incomplete"  # in .state since the first of the runs in a row that ended so: `xs status` tells its age
_BTRFS_SYNC = 0x9408  # BTRFS_IOC_SYNC, linux/btrfs.h


def main() -> int:
    """Serve one session and return its exit code."""
    syslog.openlog("xs-gate", 0, syslog.LOG_AUTH)
    try:
        return _session(sys.argv[1:], os.environ.get("SSH_ORIGINAL_COMMAND", ""))
    except Refusal as refusal:
        reason = str(refusal)
    except Exception as error:  # a traceback would tell a laptop how the server looks inside
        syslog.syslog(syslog.LOG_ERR, f"failed: {error!r}")
        reason = "the school server has a problem of its own; it is in its log: try again later"
    syslog.syslog(syslog.LOG_NOTICE, f"refused uid {os.getuid()} {sys.argv[2:]!a}: {reason}")
    print(f"xs: {reason}", file=sys.stderr)
    return REFUSED


def _session(arguments: list[str], command: str) -> int:
    # An inherited directory descriptor, or this process's own directory, would walk straight out of the jail.
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    os.chdir("/")
    match arguments:
        case ["-c", forced] if forced.startswith("gate ") and TREE.fullmatch(forced[5:]):
            tree = forced[5:]
        case _:
            raise Refusal("there is no shell here: this account takes backups only")
    request = grammar.parse(command)
    if isinstance(request, Xs):
        from schoolserver import verbs

        _limit(_settings())
        print(verbs.answer(request.verb, tree, _trees(tree)))
        return 0
    if isinstance(request, Pull):
        source = _source(tree, request)
        place, limits = _take_place(tree)
        _limit(limits)
        code = _wait(jail.start(jail.argv(request, source, limits["idle_seconds"])))
        place.close()
        return code
    return _receive(tree, request)


def _receive(tree: str, request: Push | Flag) -> int:
    top = f"{USERS}/{tree}"
    state = os.open(f"{top}/.state", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    mark = _MARKS.get(request.destination, "") if isinstance(request, Push) else ""
    if mark and _exists(mark, state):
        # The run before was never snapshotted. Writing over it now would lose what only it has.
        try:
            _report(tree)
        except (OSError, Refusal) as error:
            raise Refusal(
                "the school server could not put the last backup of this laptop away yet: try again later"
            ) from error
    lock = _take_lock(state)
    place, limits = _take_place(tree, last=isinstance(request, Flag))
    _limit(limits)
    if mark and _exists(mark, state):
        os.unlink(mark, dir_fd=state)  # after a crash, half a run must not look like a complete one
        os.fsync(state)
    if isinstance(request, Push):
        destination = f"{top}/{request.destination}"
        code = _push(tree, request, destination, state, limits)
    else:
        destination, code = "", _wait(jail.start(jail.argv(request, "", limits["idle_seconds"])))
    completed = mark and code in _COMPLETE
    if completed:
        _sync(destination)
        _write_mark(mark, state)
    if mark == _MARKS["datastore-current"]:
        _note_incomplete(code, state)
    os.close(lock)
    place.close()
    if completed or (isinstance(request, Flag) and any(_exists(one, state) for one in _MARKS.values())):
        try:
            _report(tree)
        except (OSError, Refusal) as error:  # late, never lost: the mark stays
            syslog.syslog(syslog.LOG_WARNING, f"{tree}: the snapshot part did not answer: {error}")
    return code


def _push(tree: str, request: Push, destination: str, state: int, limits: dict[str, int]) -> int:
    """Run rsync as long as the learner's directories do not hold too much; return its exit code, or raise Refusal."""
    allowed = allowance.Limits(limits["learner_files"], limits["learner_bytes"], limits["stop_percent"])
    seeds = _seeds(tree) if request.destination == "datastore-current" else ()
    # Else a laptop in a loop would get a little further each time.
    too_much = allowance.read_usage(state).over(allowed)
    # Permission says so too, but nobody has to ask it.
    full = allowance.used_percent(USERS) > limits["full_percent"]
    argv = jail.argv(request, destination, limits["idle_seconds"], seeds, only_delete=bool(too_much or full))
    places = [f"{USERS}/{one}/{name}" for one in _trees(tree) for name in allowance.COUNTED]
    jailed = jail.start(argv)
    if too_much or full:
        _wait(jailed)
        code, usage = REFUSED, allowance.count(places, allowed)
    else:
        code, usage, too_much = allowance.watch(jailed, places, allowed, USERS)
    try:
        allowance.write_usage(usage, state)
    except OSError as error:  # who has filled the disk hears of that, and the count before stands until there is room
        syslog.syslog(syslog.LOG_WARNING, f"{tree}: what it has was not written down: {error}")
    if too_much:
        raise Refusal(f"{too_much} came from this laptop: delete what is not needed, or ask your teacher")
    if full:
        raise Refusal("the school server is full and took nothing new: please tell your teacher")
    return code


def _trees(tree: str) -> list[str]:
    """Return all trees of the learner of `tree`, as the registrar wrote them down (house.House.learners)."""
    try:
        with open(f"{LEARNERS}/{tree}", encoding="ascii") as file:
            return file.read().split() or [tree]  # empty for a moment after a power cut
    except FileNotFoundError:
        return [tree]


def _seeds(tree: str) -> list[str]:
    """Return the newest snapshots of the learner's other trees.

    A replaced laptop that got its documents back finds them here, and sends only what differs.
    """
    found = []
    for other in _trees(tree):
        try:
            latest = _latest(other) if other != tree else ""
        except (OSError, Refusal) as error:  # then more is sent; nothing else depends on it
            syslog.syslog(syslog.LOG_WARNING, f"{tree}: {other} cannot be read: {error}")
            continue
        if latest:
            found.append(f"{USERS}/{other}/{latest}")
    return found[:_MOST_SEEDS]


def _latest(tree: str) -> str:
    """Return `datastore/<stamp>` of the newest snapshot of `tree`, "" when there is none; raise Refusal if damaged."""
    try:
        # Resolved here: in the jail root's links look like nobody's, and rsync 3.5 refuses those.
        path = os.readlink(f"{USERS}/{tree}/datastore-latest")
    except FileNotFoundError:
        return ""
    directory, _, stamp = path.partition("/")
    if directory != "datastore" or not stamps.is_stamp(stamp):
        raise Refusal("datastore-latest on the school server is damaged: ask the school's technician")
    return path


def _source(tree: str, request: Pull) -> str:
    """Return the directory behind `request`. All that is on the way belongs to root: no laptop can swap it."""
    trees, path = _trees(tree), request.source
    if request.tree and request.tree not in trees:
        # Not only "no": whether such a tree exists is nobody else's business.
        raise Refusal(f"{request.tree} is no tree of this laptop's child")
    tree = request.tree or tree
    if path == "datastore-latest":
        path = _latest(tree)
        if not path:  # a replaced laptop that has backed up nothing yet means what its child had
            path, tree = max((_latest(one), one) for one in trees)
        if not path:
            raise Refusal("the school server has no backup of this laptop yet")
    at = f"{USERS}/{tree}"
    for part in path.split("/"):
        at = f"{at}/{part}"
        if not stat.S_ISDIR(_mode(at)):
            raise Refusal(f"the school server has no {path} of this laptop")
    return at


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return 0


def _limit(limits: dict[str, int]) -> None:
    """Set what rsync, taken over or not, cannot raise."""
    for limit, value in (
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_CORE, 0),  # a core file would put the server's memory into the tree
        (resource.RLIMIT_NPROC, _PROCESSES),
        (resource.RLIMIT_AS, _MEMORY),
    ):
        resource.setrlimit(limit, (value, value))
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(_FIRST_TO_GO))
    os.nice(10)  # the server's own work goes first, on the disk too: the I/O priority follows
    # The kernel ends a session that takes too long, and the jail dies with its gate.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(limits["session_seconds"])


def _take_lock(state: int) -> int:
    """Take the tree's lock and return its descriptor: a snapshot never sees a half-written run."""
    lock = os.open(_LOCK, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=state)
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                _end_orphans()
                raise Refusal("another session of this laptop is still open: try again in a few minutes") from None
            time.sleep(0.05)
    # rsync inherits it, so that it is not free before rsync has gone, even where the gate is killed.
    os.set_inheritable(lock, True)
    return lock


def _end_orphans() -> None:
    """End what is left of a session whose gate was killed in the moment in which bubblewrap starts its second process.

    That one then waits for the first one for ever, and keeps the lock. No jail in use has lost its parent.
    """
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as file:
                name, _, rest = file.read().partition("(")[2].rpartition(")")
            if (name, rest.split()[1]) == ("bwrap", "1") and os.stat(f"/proc/{process}").st_uid == os.getuid():
                os.kill(int(process), signal.SIGKILL)
        except OSError:  # it has ended meanwhile
            continue


def _take_place(tree: str, *, last: bool = False) -> tuple[socket.socket, dict[str, int]]:
    """Return a connection that holds this session's place for as long as it is open, and the session's limits.

    `last` ends the run's lease.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_PLACE_SECONDS)
    try:
        connection.connect(f"{SOCKETS}/place")
        local_socket.send(connection, {"tree": tree, "last": last, "address": _address()})
        answer = local_socket.receive(connection)
    except OSError as error:
        syslog.syslog(syslog.LOG_WARNING, f"{tree}: the permission service did not answer: {error}")
        return _place_alone(), _settings()
    if not answer.get("ok"):
        raise Refusal(str(answer.get("error")))
    return connection, answer["limits"]


def _settings() -> dict[str, int]:
    """Return the limits as their file has them: slowly, so the permission service, which knows them, is asked first."""
    from dataclasses import asdict

    from schoolserver import settings

    return asdict(settings.load("accounts"))


def _address() -> str:
    """Return the laptop's network address, as sshd says it."""
    return os.environ.get("SSH_CONNECTION", "").partition(" ")[0]


def _place_alone() -> socket.socket:
    """Hold one of a few names in the kernel's own list, which a process cannot keep when it ends."""
    for number in range(_PLACES_ALONE):
        try:
            place = socket.socket(socket.AF_UNIX)
            place.bind(f"\0xs-place-{number}")
        except OSError:
            continue
        return place
    raise Refusal("the school server is busy: try again in a few minutes")


def _wait(jailed: int) -> int:
    """Return the exit code of the process `jailed` once it has ended, as a shell has it."""
    code = os.waitstatus_to_exitcode(os.waitpid(jailed, 0)[1])
    return code if code >= 0 else 128 - code


def _sync(destination: str) -> None:
    """Return when what rsync wrote is on the disk: else a mark could outlive, in a power cut, what it vouches for."""
    directory = os.open(destination, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(directory, _BTRFS_SYNC)
    except OSError:  # not btrfs
        os.sync()
    finally:
        os.close(directory)


def _write_mark(name: str, state: int) -> None:
    mark = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=state)
    os.fsync(mark)
    os.close(mark)
    os.fsync(state)


def _note_incomplete(code: int, state: int) -> None:
    """Leave a file whose age says since when the runs end in part only; a complete one takes it away."""
    if code == _PARTLY and not _exists(INCOMPLETE, state):
        os.close(os.open(INCOMPLETE, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=state))
    elif code in _COMPLETE and _exists(INCOMPLETE, state):
        os.unlink(INCOMPLETE, dir_fd=state)


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _report(tree: str) -> None:
    """Tell the snapshot part that a mark waits, and wait for it; raise OSError or Refusal if it could not see to it."""
    answer = local_socket.ask(f"{SOCKETS}/snapshot", {"tree": tree}, _REPORT_SECONDS)
    if not answer.get("ok"):
        raise Refusal(str(answer.get("error")))
