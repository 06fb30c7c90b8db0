# SPDX-License-Identifier: GPL-3.0-or-later
"""The jail: a session's own root directory, as arguments for bubblewrap (DESIGN.md section 5, "The jail").

rsync is assumed to be taken over by whoever is at the other end: 33 of its bugs were fixed in one release. What it can
then reach is what these arguments let it see.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from schoolserver.grammar import Flag, Pull, Push

BWRAP = "/usr/bin/bwrap"
RSYNC = "/usr/bin/rsync"
FILTER = "/usr/lib/schoolserver/jail.bpf"  # syscall_filter.py wrote it when the package was built
_FILTER_AT = 63  # the descriptor at which bubblewrap reads it; the gate's own are far below
_COMPLETION = "/var/lib/ds-backup/completion"
_TMP = "/tmp"  # noqa: S108  the jail's own, in memory
_FLAG_BYTES = "1048576"  # the flag is empty; what a hostile one fills is this much of the server's memory

_WALLS = (
    # Own user, mount, pid, ipc, network, uts and cgroup namespaces: no other process, no network, no abstract socket.
    "--unshare-user", "--unshare-all",
    # A namespace inside would give back what the next lines take: most kernel holes of recent years began there.
    "--disable-userns",
    "--cap-drop", "ALL",
    # Most of the kernel is not there: a hole in it needs neither capability nor namespace. Whoever breaks out all the
    # same takes the filter along, for a process cannot shed it.
    "--seccomp", str(_FILTER_AT),
    # No controlling terminal, into which TIOCSTI could type; no survivor that holds the tree after the gate has gone.
    "--new-session", "--die-with-parent",
    # Nothing of sshd's environment: it names the laptop's address and the server's.
    "--clearenv",
    # The system's own rsync and libraries, so that security updates reach every session.
    "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
)  # fmt: skip
_READABLE = ("-p", "--chmod=D755,F644")  # else a source's 0600 or 000 survives, and services cannot read the file

# They tell Sugar that its caches are whole. In a restore, which has no caches, they would make it open an empty index
# and show an empty Journal (carquinyol datastore.__init__, the fast path).
_CACHE_FLAGS = ("index_updated", "ds_clean")
_NOTHING_NEW = ("--existing", "--ignore-existing")


def argv(
    request: Push | Pull | Flag,
    source: str,
    idle_seconds: int,
    seeds: Sequence[str] = (),
    *,
    only_delete: bool = False,
) -> list[str]:
    """Return the command that carries out `request` in a jail.

    `source` is the directory on the server that stands behind the request's path, with no link left in it ("" for a
    flag, which is received into memory and dropped). Where the laptop set no timeout, a session that is silent for
    `idle_seconds` ends. `seeds` are directories on the server, the same learner's: what a push finds there unchanged
    is copied on the server and not sent. With `only_delete` a push removes what the laptop has no more, and no more.
    """
    match request:
        case Push(destination, words, slash):
            view = ["--bind", source, f"/{destination}"]
            seeding = [f"/seeds/{number}" for number in range(len(seeds))]
            for seed, place in zip(seeds, seeding, strict=True):
                view += ["--ro-bind", seed, place]
            ours = [*_READABLE, *(_NOTHING_NEW if only_delete else ()), *(f"--copy-dest={place}" for place in seeding)]
            rsync = [*words, *ours, ".", destination + slash]
        case Pull(path, words, slash, tree):
            path = f"trees/{tree}/{path}" if tree else path
            view = ["--ro-bind", source, f"/{path}"]
            top = slash or f"/{path.rpartition('/')[2]}/"  # of what is sent: with a slash, what is in the directory
            flags = () if path.startswith("keepsakes/") else _CACHE_FLAGS
            rsync = ["--sender", *words, *(f"--exclude={top}{name}" for name in flags), ".", path + slash]
        case Flag(serial, words):
            view = ["--size", _FLAG_BYTES, "--tmpfs", _TMP, "--size", _FLAG_BYTES, "--tmpfs", _COMPLETION]
            rsync = [*words, "--temp-dir", _TMP, ".", f"{_COMPLETION}/{serial}"]
    if not any(word.startswith("--timeout=") for word in request.words):
        rsync[-2:-2] = [f"--timeout={idle_seconds}"]
    # The root itself becomes read-only last: what is bound above keeps its own rights.
    return [BWRAP, *_WALLS, *view, "--remount-ro", "/", "--chdir", "/", "--", RSYNC, "--server", *rsync]


def start(command: list[str]) -> int:
    """Start `command`, of argv(), with this process's input and output; return its pid, its group's too; raise OSError.

    A group of its own, because bubblewrap's second process dies with the first one only once it has got as far as to
    ask for that.
    """
    return os.posix_spawn(
        command[0],
        command,
        {},
        file_actions=[(os.POSIX_SPAWN_OPEN, _FILTER_AT, FILTER, os.O_RDONLY, 0)],  # without the file nothing starts
        setpgroup=0,
        # Python ignores these two signals, and what is ignored would stay so in rsync.
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )
