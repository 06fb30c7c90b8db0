# SPDX-License-Identifier: GPL-3.0-or-later
"""rsync is owned: a hostile program stands in its place, in a real session through sshd, gate and jail.

It gets at its own incoming tree, and at nothing else.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import inside
from eve import Eve
from ground import Ground
from laptop import Laptop
from siege import LOGS, SECRET, no_filter

pytestmark = pytest.mark.usefixtures("owned")


def named(eve: Eve, jim: Laptop, script: str, **more: object) -> str:
    """Return `script` with what it must know before it."""
    names = {
        "OWN": "/datastore-current", "JIM": f"/library/users/{jim.serial}", "ADDRESS": eve.laptop.server, "GATE": 0,
        **more,
    }  # fmt: skip
    return "".join(f"{name} = {value!r}\n" for name, value in names.items()) + inside.START + script


def said_by(eve: Eve, script: str) -> Any:
    """Return what `script` printed as JSON from rsync's place."""
    said = eve.owned(script)
    assert said.exit == 0, said
    return json.loads(said.out)


@pytest.fixture(scope="module")
def ears(server: Ground) -> Iterator[None]:
    """Somebody listens on the abstract socket that a place has, and on loopback: what is not heard was not sent."""
    script = (
        "import socket, time; a = socket.socket(socket.AF_UNIX); a.bind('\\0xs-place-0'); a.listen(); time.sleep(600)"
    )
    server.run(f'systemd-run --quiet --unit=ears --collect python3 -c "{script}"')
    server.run("for i in $(seq 50); do ss -xl | grep -q @xs-place-0 && break; sleep .1; done")
    yield
    server.run("systemctl stop ears")


@pytest.fixture
def unfiltered(server: Ground) -> Iterator[None]:
    """Every system call is let through."""
    with no_filter(server):
        yield


# In a process of its own each: what an attempt could do to its process would change what the next one can.
APART = """
results = {}
def apart(what):
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.write(write_end, attempt(what).encode()[:2000])
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as file:
        said = file.read().decode()
    os.wait()
    return said
"""


def became_of(eve: Eve, jim: Laptop, attempts: dict[str, str]) -> dict[str, str]:
    """Return what became of each of `attempts`. In one session: the first of two would hide what the second can do."""
    tries = "".join(f"results[{name!r}] = apart(lambda: {how})\n" for name, how in attempts.items())
    # From outside the gate's number can be seen; inside it means nothing.
    found = said_by(eve, named(eve, jim, f"{APART}{tries}print(json.dumps(results))\n", GATE=4000))
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def results(eve: Eve, jim: Laptop, ears: None) -> dict[str, str]:
    """What became of each attempt in the jail as it is."""
    return became_of(eve, jim, {**inside.ATTEMPTS, **inside.FILTERED})


@pytest.mark.parametrize("way", [*inside.ATTEMPTS, *inside.FILTERED])
def test_there_is_no_way_out_of_the_jail(results: dict[str, str], way: str) -> None:
    assert results[way].startswith("refused: "), results[way]


@pytest.fixture(scope="module")
def results_without_filter(eve: Eve, jim: Laptop, server: Ground, ears: None) -> dict[str, str]:
    """What became of each attempt where every system call is let through."""
    with no_filter(server):
        return became_of(eve, jim, inside.ATTEMPTS)


@pytest.mark.parametrize("way", inside.ATTEMPTS)
def test_there_is_no_way_out_without_the_filter_of_system_calls_either(
    results_without_filter: dict[str, str], way: str
) -> None:
    assert results_without_filter[way].startswith("refused: "), results_without_filter[way]


def test_what_only_the_filter_stops_is_stopped_by_it(results: dict[str, str]) -> None:
    others = {way: results[way] for way in inside.FILTERED if "Function not implemented" not in results[way]}
    assert others == {}


def test_it_sees_its_own_incoming_and_the_systems_programs(eve: Eve, jim: Laptop, unfiltered: None) -> None:
    seen = said_by(eve, named(eve, jim, inside.LISTING))
    listing = "".join(f"{key}: {value}\n" for key, value in seen.items())
    (LOGS / "attacks-jail.txt").write_text(listing, encoding="utf-8")
    assert seen["root"] == ["datastore-current", "lib", "lib64", "usr"]
    assert "ro" in seen["what is mounted"]["/"]
    assert "ro" in seen["what is mounted"]["/usr"]
    assert set(seen["what is mounted"]["/datastore-current"]) == {"nosuid", "nodev", "noexec"}
    assert len(seen["processes"]) <= 3, "bubblewrap's, and its own"
    assert set(seen["environment"]) <= {"PWD", "LC_CTYPE"}
    assert seen["interfaces"] == ["lo"]
    assert {number for number, kind in seen["descriptors"].items() if kind != "REG"} == {"0", "1", "2"}
    assert [kind for number, kind in seen["descriptors"].items() if int(number) > 2] == ["REG"], "the tree's lock"
    assert seen["capabilities"] == seen["capabilities of process 1"] == [0] * 6
    assert seen["namespaces it may make"] == []
    assert seen["no new privileges"] == 1
    assert seen["limits"]["NPROC"] == 40
    assert seen["limits"]["AS"] == 1 << 29
    assert seen["limits"]["CORE"] == 0
    assert seen["priority"] == 10


PULLED = "rsync --server --sender -ltre.i . datastore-latest/"
PULL_ATTEMPTS = {
    "write: history changed": 'write(OWN + "/version")',
    "create: history added to": 'write(OWN + "/x")',
    "unlink: history lost": 'os.unlink(OWN + "/version")',
    "rename: history hidden": 'os.rename(OWN + "/version", OWN + "/x")',
    "chmod: history unreadable": "os.chmod(OWN, 0)",
    "utime: history dated otherwise": 'os.utime(OWN + "/version", (0, 0))',
    "link: a name that is writable elsewhere": 'os.link(OWN + "/version", OWN + "/x")',
    "attribute: history marked": 'os.setxattr(OWN + "/version", "user.x", b"x")',
    "access list: history unreadable": (
        "os.setxattr(OWN + '/version', 'system.posix_acl_access', "
        "struct.pack('<IHHiHHiHHi', 2, 1, 0, -1, 4, 0, -1, 32, 0, -1))"
    ),
    "read-only off: history writable": (
        "fcntl.ioctl(os.open(OWN, os.O_RDONLY), 0x4008941A, struct.pack('Q', 0)) or write(OWN + '/x')"
    ),
    "remount: history writable": 'c("mount", 0, OWN.encode(), 0, 32 | 4096, 0)',
    "a snapshot of it: history writable": (
        "fcntl.ioctl(os.open(OWN, os.O_RDONLY), 0x50009401, bytearray(struct.pack('q', os.open(OWN, os.O_RDONLY)) + "
        "b'x'.ljust(4088, b'\\0')))"
    ),
    "climb: other snapshots": 'os.listdir(OWN + "/../datastore")',
    "incoming: a write while she reads": 'os.listdir("/datastore-current")',
}


def test_what_is_read_back_cannot_be_written_by_a_hostile_sender(eve: Eve, jim: Laptop, server: Ground) -> None:
    before = server.run(f"cd /library/users/{eve.laptop.serial} && find datastore keepsakes -type f | xargs sha256sum")
    tries = "".join(f"results[{name!r}] = attempt(lambda: {how})\n" for name, how in PULL_ATTEMPTS.items())
    script = named(eve, jim, f"results = {{}}\n{tries}print(json.dumps(results))\n", OWN="/datastore-latest")
    said = eve.owned(script, PULLED)
    assert said.exit == 0, said
    results = json.loads(said.out)
    assert {way: end for way, end in results.items() if not end.startswith("refused: ")} == {}
    assert (
        server.run(f"cd /library/users/{eve.laptop.serial} && find datastore keepsakes -type f | xargs sha256sum")
        == before
    )


def test_a_hostile_flag_session_sees_no_tree_at_all_and_fills_two_megabytes_of_memory(eve: Eve, jim: Laptop) -> None:
    script = named(eve, jim, r"""
written = {}
for place in ("/tmp/x", "/var/lib/ds-backup/completion/x", "/var/lib/x", "/var/x", "/x"):
    written[place] = 0
    try:
        with open(place, "wb", buffering=0) as file:
            while True:
                written[place] += file.write(bytes(65536))
    except OSError:
        pass
print(json.dumps({"root": sorted(os.listdir("/")), "written": written}))
""")  # fmt: skip
    said = eve.owned(script, f"rsync --server -ltre.i . /var/lib/ds-backup/completion/{eve.laptop.serial}")
    seen = json.loads(said.out)
    assert seen["root"] == ["lib", "lib64", "tmp", "usr", "var"]
    assert seen["written"] == {
        "/tmp/x": 1 << 20, "/var/lib/ds-backup/completion/x": 1 << 20, "/var/lib/x": 0, "/var/x": 0, "/x": 0,
    }  # fmt: skip


def wait_until_gone(server: Ground, eve: Eve) -> None:
    """Return when nothing of Eve's runs any more; fail after some seconds."""
    eve.hang_up()
    until = time.monotonic() + 15
    while server.run(f"grep -lsE '^Uid:\\s+{eve.uid}\\s' /proc/[0-9]*/status; true"):
        assert time.monotonic() < until, "something of hers stays"
        time.sleep(0.2)


def test_a_fork_bomb_stops_at_forty_and_jim_is_served_meanwhile(eve: Eve, jim: Laptop, server: Ground) -> None:
    script = named(eve, jim, """
made = 0
try:
    while made < 4000:
        if os.fork() == 0:
            time.sleep(8)
            os._exit(0)
        made += 1
except OSError:
    pass
print(json.dumps(made), flush=True)
time.sleep(5)
os._exit(1)
""")  # fmt: skip
    bomb: list[Any] = []
    thread = threading.Thread(target=lambda: bomb.append(eve.owned(script, "rsync --server -ltre.i . documents")))
    thread.start()
    time.sleep(1)
    assert jim.permission()[0] == 200
    assert jim.status()["approval"] == "none"
    thread.join()
    assert 20 < int(bomb[0].out) < 40
    wait_until_gone(server, eve)


def test_a_memory_bomb_ends_at_half_a_gigabyte(eve: Eve, jim: Laptop) -> None:
    script = named(eve, jim, """
import mmap
held = []
try:
    while len(held) < 64:
        held.append(mmap.mmap(-1, 64 << 20))
        held[-1].write(bytes(64 << 20))
except (OSError, MemoryError):
    pass
print(json.dumps(len(held)), flush=True)
os._exit(1)
""")  # fmt: skip
    said = eve.owned(script, "rsync --server -ltre.i . documents")
    assert 2 < int(said.out) < 8


def test_a_process_that_hides_from_its_session_ends_with_it(eve: Eve, jim: Laptop, server: Ground) -> None:
    script = named(eve, jim, """
if os.fork() == 0:
    os.setsid()
    for number in range(1024):
        try:
            os.close(number)
        except OSError:
            pass
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
""")  # fmt: skip
    assert eve.owned(script, "rsync --server -ltre.i . documents").exit == 0
    wait_until_gone(server, eve)


def test_a_lock_that_is_let_go_from_inside_gives_nobody_elses(
    eve: Eve, jim: Laptop, server: Ground, unfiltered: None
) -> None:
    script = named(eve, jim, """
for number in range(3, 64):
    attempt(lambda: fcntl.flock(number, fcntl.LOCK_UN))
    try:
        os.write(number, b"x")
    except OSError as error:
        said = error.errno
os._exit(1)
""")  # fmt: skip
    before = server.run(f"find /library/users/{eve.laptop.serial}/.state -type f -name lock -size +0")
    eve.owned(script, "rsync --server -ltre.i . documents")
    assert server.run(f"find /library/users/{eve.laptop.serial}/.state -type f -name lock -size +0") == before == ""
    served_without_rsync(jim, server)


BTRFS_HOSTILE = """
def ioctl(number, value):
    descriptor = os.open(OWN, os.O_RDONLY)
    try:
        return fcntl.ioctl(descriptor, number, bytearray(value))
    finally:
        os.close(descriptor)
"""


def test_an_incoming_that_she_makes_read_only_stops_nobody_but_her(
    eve: Eve, jim: Laptop, server: Ground, unfiltered: None
) -> None:
    tree = eve.laptop.serial
    script = named(eve, jim, f"{BTRFS_HOSTILE}ioctl(0x4008941A, struct.pack('Q', 2))")
    assert eve.owned(script).exit == 0
    before = server.stamps(tree)
    try:
        for _ in range(2):
            eve.owned("pass")  # as if a run were complete
        served_without_rsync(jim, server)
        assert server.failed_units() == []
    finally:
        server.run(f"btrfs property set -f /library/users/{tree}/datastore-current ro false")
    assert server.stamps(tree)[: len(before)] == before


def served_without_rsync(jim: Laptop, server: Ground) -> None:
    """Fail unless the parts answer `jim`; rsync itself is Eve's here."""
    assert jim.permission()[0] == 200
    assert jim.status()["approval"] == "none"
    assert set(jim.history()) == {jim.serial}
    server.run("xs laptop list >/dev/null")


def test_subvolumes_of_her_making_stop_nobody(eve: Eve, jim: Laptop, server: Ground, unfiltered: None) -> None:
    """In a snapshot they are empty places; as caches they are taken for ours; what they hold is hers alone."""
    script = named(eve, jim, f"""{BTRFS_HOSTILE}
import shutil
for name in (b"nested", b"ab"):
    ioctl(0x5000940E, struct.pack("q", 0) + name.ljust(4088, b"\\0"))
    open(OWN.encode() + b"/" + name + b"/file", "w").write("x" * 1000)
for name in ("index", "checksums"):
    try:
        os.rmdir(OWN + "/" + name)
    except OSError:
        pass
    try:
        os.symlink("/etc", OWN + "/" + name)
    except FileExistsError:
        pass
""")  # fmt: skip
    said = eve.owned(script)
    assert said.exit == 0, said
    newest = server.stamps(eve.laptop.serial)[-1]
    place = f"/library/users/{eve.laptop.serial}/datastore/{newest}"
    assert server.run(f"find {place} -name file; find {place} -maxdepth 1 -type l -name '[ic]*'") == ""
    assert server.run("find /etc -maxdepth 1 -newermt '-5 minutes' -name file") == ""
    served_without_rsync(jim, server)


def test_room_that_she_takes_beyond_the_end_of_files_counts_as_hers(eve: Eve, jim: Laptop, server: Ground) -> None:
    """Everybody's disk, in files that look empty."""
    script = named(
        eve,
        jim,
        """
for number in range(10):
    with open(f"/documents/taken{number}", "wb") as file:
        call(285, file.fileno(), 1, 0, 10_000_000)  # fallocate, FALLOC_FL_KEEP_SIZE
time.sleep(30)
""",
    )
    with server.settings(learner_bytes=50_000_000):
        server.mark()
        said = eve.owned(script, "rsync --server -ltre.i . documents")
        assert said.exit == 126, said
        assert b"more than 50 MB came from this laptop" in said.err
        server.told("more than 50 MB", of="xs-gate")
    assert eve.owned("import os\nfor name in os.listdir('/documents'): os.unlink('/documents/' + name)",
                     "rsync --server -ltre.i . documents").exit in (0, 126)  # fmt: skip


def test_nothing_of_jims_came_out(eve: Eve, server: Ground, jim: Laptop) -> None:
    found = server.host.run(
        f"grep --recursive --files-with-matches --fixed-strings '{SECRET}' /library/users/{eve.laptop.serial}"
    )
    assert found.stdout == ""
    assert subprocess.run(["grep", "-rl", SECRET, eve.laptop.home], capture_output=True, check=False).stdout == b""
