# SPDX-License-Identifier: GPL-3.0-or-later
"""What a jailed process can reach: a hostile program stands in rsync's place, under a real bubblewrap."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import filtering
import school
from schoolserver import grammar, jail
from schoolserver.grammar import Flag, Pull, Push

PUSH = "rsync --server -ltrze.iLsfxCIvu --timeout=160 --delete --partial . datastore-current"
UID = 20000


def rsync_of(command: str) -> list[str]:
    request = grammar.parse(command)
    assert isinstance(request, Push | Pull | Flag)
    argv = jail.argv(request, "/source", 300)
    return argv[argv.index("--") + 1 :]


def test_a_push_is_received_with_modes_that_services_can_read() -> None:
    assert rsync_of(PUSH) == [
        "/usr/bin/rsync", "--server", "-ltrze.iLsfxCIvu", "--timeout=160", "--delete", "--partial", "-p",
        "--chmod=D755,F644", ".",
        "datastore-current",
    ]  # fmt: skip


def test_a_pull_sends_and_cannot_write() -> None:
    request = grammar.parse("rsync --server --sender -ltre.i --timeout=5 . datastore-latest/")
    assert isinstance(request, Pull)
    argv = jail.argv(request, "/source", 300)
    assert argv[argv.index("--ro-bind", argv.index("/usr") + 2) :][:3] == ["--ro-bind", "/source", "/datastore-latest"]
    assert "--bind" not in argv
    assert argv[-8:] == [
        "--server", "--sender", "-ltre.i", "--timeout=5", "--exclude=/index_updated", "--exclude=/ds_clean", ".",
        "datastore-latest/",
    ]  # fmt: skip


STAMP = "2026-11-23T101500Z"
RESTORES = [
    ("datastore-latest", "", "/datastore-latest/ds_clean"),
    (f"datastore/{STAMP}", "", f"/{STAMP}/ds_clean"),
    (f"datastore/{STAMP}", "/", "/ds_clean"),
    (f"trees/SHC12345678.2/datastore/{STAMP}", "/", "/ds_clean"),
]


@pytest.mark.parametrize(("path", "slash", "excluded"), RESTORES)
def test_a_restore_does_not_tell_sugar_that_caches_are_whole(path: str, slash: str, excluded: str) -> None:
    assert f"--exclude={excluded}" in rsync_of(f"rsync --server --sender -ltre.i . {path}{slash}")


def test_rsync_leaves_those_flags_out_and_sends_the_rest(tmp_path: Path) -> None:
    source, target = tmp_path / STAMP, tmp_path / "restored"
    document = source / "01" / school.uid(1) / "metadata"
    document.mkdir(parents=True)
    for file in (source / "index_updated", source / "ds_clean", source / "version", document / "ds_clean"):
        file.write_text("6")
    # rsync's own client, with the jailed command at the other end but for the jail.
    server = tmp_path / "server"
    words = [word.replace("datastore-latest", str(source)) for word in rsync_of(
        "rsync --server --sender -ltre.iLsfxCIvu . datastore-latest/")]  # fmt: skip
    server.write_text(f"#!/bin/sh\nexec {shlex.join(words)}\n")
    server.chmod(0o755)
    subprocess.run(["rsync", "-rlt", f"--rsh={server}", "school:datastore-latest/", str(target)], check=True)
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert found == [f"01/{school.uid(1)}/metadata/ds_clean", "version"]


def test_a_silent_session_ends_also_where_the_laptop_set_no_timeout() -> None:
    assert rsync_of("rsync --server -ltre.i . documents")[-3:] == ["--timeout=300", ".", "documents"]
    assert "--timeout=300" not in rsync_of(PUSH)


def test_the_old_clients_flag_is_received_into_memory() -> None:
    request = grammar.parse("rsync --server -ltre.i --temp-dir /tmp . /var/lib/ds-backup/completion/SHC12345678")
    assert isinstance(request, Flag)
    argv = jail.argv(request, "", 300)
    assert "--bind" not in argv
    assert argv[-5:] == [
        "--temp-dir", "/tmp", "--timeout=300", ".", "/var/lib/ds-backup/completion/SHC12345678",
    ]  # fmt: skip


HOSTILE = r"""
import json, os, socket
def attempt(what):
    try:
        return repr(what())
    except OSError as error:
        return f"refused: {error.strerror}"
def listing(top):
    try:
        return sorted(os.listdir(top))
    except OSError:
        return None
def connects(family, address):
    return lambda: socket.socket(family).connect(address)
def writes(path):
    return lambda: open(path, "w").write("x")
def capabilities():
    import ctypes
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capget(header, data)
    return list(data)
def unshares():
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
print(json.dumps({
    "root": listing("/"), "var": listing("/var"), "mine": listing(OWN), "cwd": os.getcwd(),
    "environment": sorted(os.environ),
    "pid": os.getpid(), "uid": os.getuid(), "session": os.getsid(0),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "descriptors": [n for n in range(64) if attempt(lambda: os.fstat(n)) [:7] != "refused"],
    "capabilities": capabilities(), "new user namespace": attempt(unshares),
    "passwd": attempt(lambda: open("/etc/passwd").read()), "proc": listing("/proc"), "dev": listing("/dev"),
    "run": listing("/run"),
    "write /": attempt(writes("/x")), "write /usr": attempt(writes("/usr/x")), "write /tmp": attempt(writes("/tmp/x")),
    "write mine": attempt(writes(OWN + "/written")),
    "climb": attempt(lambda: open(OWN + "/../../../../../../etc/passwd").read()),
    "link out": attempt(lambda: (os.symlink(SECRET, OWN + "/link"), open(OWN + "/link").read())),
    "secret": attempt(lambda: open(SECRET).read()),
    "abstract": attempt(connects(socket.AF_UNIX, "\0" + ABSTRACT)), "tcp": attempt(connects(socket.AF_INET,
    ("127.0.0.1", PORT))),
    "kill": attempt(lambda: os.kill(PARENT, 0)), "setuid": attempt(lambda: os.setuid(0)),
    "chroot": attempt(lambda: os.chroot("/usr")),
    "mount": attempt(lambda: os.stat("/newroot")), "device": attempt(lambda: os.mknod(OWN + "/device", 0o60666,
    os.makedev(8, 0))),
}))
"""


@pytest.fixture
def ground() -> Iterator[Path]:
    """A directory that a learner's uid can get to: pytest's own cannot be passed."""
    if os.geteuid() != 0:
        pytest.skip("only root can become a learner")
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    directory = Path(tempfile.mkdtemp(prefix="xs-jail-"))
    directory.chmod(0o711)
    own = directory / "datastore-current"
    own.mkdir()
    os.chown(own, UID, UID)
    (own / "version").write_text("6")
    (directory / "secret").write_text("another learner's")
    (directory / "secret").chmod(0o644)
    yield directory
    shutil.rmtree(directory)


def jailed(command: str, source: str, program: str, **names: object) -> dict[str, object]:
    """What `program` reports from the place of rsync in the jail of `command`.

    Without the filter of system calls, whose tests are its own: what the other walls stop would not be seen.
    """
    request = grammar.parse(command)
    assert isinstance(request, Push | Pull | Flag)
    argv = jail.argv(request, source, 300)
    script = "".join(f"{name} = {value!r}\n" for name, value in names.items()) + program
    unfiltered = argv.index("--seccomp")
    del argv[unfiltered : unfiltered + 2]
    argv[argv.index(jail.RSYNC) :] = ["/usr/bin/python3", "-IS", "-c", script]
    done = subprocess.run(argv, user=UID, group=UID, extra_groups=[], capture_output=True, text=True, check=False)
    if "No permissions to create" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip(f"this kernel allows no user namespaces: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture
def seen(ground: Path) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX) as abstract, socket.socket() as tcp:
        abstract.bind("\0xs-jail-test")
        abstract.listen()
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        return jailed(
            PUSH, str(ground / "datastore-current"), HOSTILE, OWN="/datastore-current", SECRET=str(ground / "secret"),
            ABSTRACT="xs-jail-test", PORT=tcp.getsockname()[1], PARENT=os.getpid(),
        )  # fmt: skip


def test_in_the_jail_nothing_but_the_destination_is_visible(seen: dict[str, object]) -> None:
    assert seen["root"] == ["datastore-current", "lib", "lib64", "usr"]
    assert seen["mine"] == ["version"]
    for place in ("var", "proc", "dev", "run"):
        assert seen[place] is None
    assert (seen["cwd"], seen["descriptors"]) == ("/", [0, 1, 2])
    assert seen["environment"] in (["PWD"], ["LC_CTYPE", "PWD"])  # Python itself sets LC_CTYPE
    assert seen["interfaces"] == ["lo"]
    assert seen["uid"] == UID
    assert int(str(seen["pid"])) < 5
    assert seen["session"] != 0, "it still belongs to the session outside, into whose terminal it could type"


def test_in_the_jail_nothing_but_the_destination_can_be_written(seen: dict[str, object]) -> None:
    assert seen["write mine"] == "1"
    assert seen["write /"] == seen["write /usr"] == "refused: Read-only file system"
    assert str(seen["write /tmp"]).startswith("refused")


@pytest.mark.parametrize(
    "way",
    ["passwd", "climb", "link out", "secret", "abstract", "tcp", "kill", "setuid", "chroot", "mount", "device",
    "new user namespace"],
)  # fmt: skip
def test_there_is_no_way_out_of_the_jail(way: str, seen: dict[str, object]) -> None:
    assert str(seen[way]).startswith("refused"), seen[way]


def test_capabilities_are_dropped_in_so_many_words() -> None:
    # bubblewrap does it by itself for an ordinary user; root, who may try the jail by hand, would keep them.
    request = grammar.parse(PUSH)
    assert isinstance(request, Push)
    argv = jail.argv(request, "/source", 300)
    assert argv[argv.index("--cap-drop") + 1] == "ALL"


def test_the_filter_is_read_and_closed_and_without_it_nothing_starts(
    ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = grammar.parse(PUSH)
    assert isinstance(request, Push)
    argv = jail.argv(request, str(ground / "datastore-current"), 300)
    script = """
import errno, os, socket
try:
    there = [bool(os.fstat(63))]
except OSError:
    there = [False]
try:
    socket.socket(socket.AF_UNIX)
except OSError as error:
    there.append(error.errno == errno.ENOSYS)
open("/datastore-current/out", "w").write(repr(there))
"""
    argv[argv.index(jail.RSYNC) :] = ["/usr/bin/python3", "-IS", "-c", script]
    monkeypatch.setattr(jail, "FILTER", str(filtering.filter_file()))
    os.chmod(ground / "datastore-current", 0o777)
    assert os.waitpid(jail.start(argv), 0)[1] == 0
    assert (ground / "datastore-current" / "out").read_text() == "[False, True]"
    monkeypatch.setattr(jail, "FILTER", str(ground / "none"))
    with pytest.raises(FileNotFoundError):
        jail.start(argv)


def test_in_the_jail_there_are_no_capabilities(seen: dict[str, object]) -> None:
    assert seen["capabilities"] == [0, 0, 0, 0, 0, 0]


def test_a_pulled_snapshot_cannot_be_written_even_by_its_owner(ground: Path) -> None:
    program = """
import json, os
def attempt(what):
    try:
        what()
    except OSError as error:
        return error.strerror
    return "done"
print(json.dumps({"root": sorted(os.listdir("/")), "write": attempt(lambda: open("/datastore-latest/x", "w")),
    "unlink": attempt(lambda: os.unlink("/datastore-latest/version")),
    "chmod": attempt(lambda: os.chmod("/datastore-latest", 0o777))}))
"""
    found = jailed("rsync --server --sender -ltre.i . datastore-latest/", str(ground / "datastore-current"), program)
    assert found["root"] == ["datastore-latest", "lib", "lib64", "usr"]
    assert {found[way] for way in ("write", "unlink", "chmod")} == {"Read-only file system"}


def test_a_hostile_flag_fills_a_megabyte_and_no_more(ground: Path) -> None:
    program = """
import json, os
written = 0
try:
    with open("/tmp/x", "wb", buffering=0) as file:
        while True:
            written += file.write(b"x" * 65536)
except OSError as error:
    print(json.dumps({"written": written, "error": error.strerror, "root": sorted(os.listdir("/"))}))
"""
    found = jailed("rsync --server -ltre.i . /var/lib/ds-backup/completion/SHC12345678", "", program)
    assert found == {
        "written": 1048576,
        "error": "No space left on device",
        "root": ["lib", "lib64", "tmp", "usr", "var"],
    }
