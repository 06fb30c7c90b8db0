# SPDX-License-Identifier: GPL-3.0-or-later
"""History is out of reach: Eve's own finished snapshots and keepsakes, with her own key and with her own uid.

Each key says what it would gain. Before and after, every byte, mode, owner and time of them is the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import inside
from eve import Eve
from ground import Ground


@pytest.fixture(autouse=True)
def unchanged(server: Ground, eve: Eve) -> Iterator[None]:
    """Her finished snapshots and keepsakes are afterwards what they were before; there may be more of them."""
    stamps = server.stamps(eve.laptop.serial)
    before = server.history(eve.laptop.serial, stamps)
    yield
    assert before - server.history(eve.laptop.serial, stamps) == set()


# TOP her tree, SNAP a finished snapshot, FILE a file of hers in it, KEPT a file in a keepsake, OWN her incoming.
IOCTL = "fcntl.ioctl(os.open({}, os.O_RDONLY), {}, bytearray({}))"
NAMED = "struct.pack('q', {}) + {}.ljust(4088, b'\\0')"
ATTEMPTS = {
    "write: a document changed": "write(FILE)",
    "append: a document changed": 'open(FILE, "ab")',
    "open for both: a document changed": 'open(FILE, "r+b")',
    "truncate: a document emptied": "os.truncate(FILE, 0)",
    "create: a document invented": 'write(SNAP + "/x")',
    "mkdir: a document invented": 'os.mkdir(SNAP + "/x")',
    "symlink: a way out for who reads it": 'os.symlink("/etc/passwd", SNAP + "/x")',
    "mkfifo: a reader that hangs": 'os.mkfifo(SNAP + "/x")',
    "unlink: a document lost": "os.unlink(FILE)",
    "rmdir: a document lost": "os.rmdir(os.path.dirname(FILE))",
    "rename inside: a document hidden": 'os.rename(FILE, FILE + "x")',
    "rename out: a document lost": 'os.rename(FILE, OWN + "/taken")',
    "rename in: a document replaced": 'os.rename(own("new"), FILE)',
    "exchange: a document replaced": 'call(316, -100, own("new").encode(), -100, FILE.encode(), 2)',
    "chmod: a document unreadable": "os.chmod(FILE, 0)",
    "chmod of the top: a snapshot unreadable": "os.chmod(SNAP, 0)",
    "chown: a document another's": "os.chown(FILE, -1, os.getgid())",
    "utime: a document dated otherwise": "os.utime(FILE, (0, 0))",
    "utime of the top: a snapshot dated otherwise": "os.utime(SNAP, (0, 0))",
    "attribute: a document marked": 'os.setxattr(FILE, "user.x", b"x")',
    "immutable off: a file writable": IOCTL.format("FILE", "0x40086602", "struct.pack('l', 0)"),
    "hard link into incoming: a name that is writable": 'os.link(FILE, OWN + "/linked")',
    "hard link into documents: a name that is writable": 'os.link(FILE, TOP + "/documents/linked")',
    "link to a link: a name that is writable": 'os.link(FILE, (os.symlink(FILE, OWN + "/ln"), OWN + "/ln")[1])',
    "map writable: a document changed": "__import__('mmap').mmap(os.open(FILE, os.O_RDWR), 0)",
    "a nameless file linked in: a document invented": (
        'os.link(f"/proc/self/fd/{os.open(OWN, os.O_TMPFILE | os.O_WRONLY)}", SNAP + "/x", follow_symlinks=True)'
    ),
    "clone into it: a document replaced": (
        "fcntl.ioctl(os.open(FILE, os.O_WRONLY), 0x40049409, os.open(own('c'), os.O_RDONLY))"
    ),
    "clone into it by a read-only descriptor: a document replaced": (
        "fcntl.ioctl(os.open(FILE, os.O_RDONLY), 0x40049409, os.open(own('c'), os.O_RDONLY))"
    ),
    "copy into it: a document replaced": (
        "os.copy_file_range(os.open(own('c'), os.O_RDONLY), os.open(FILE, os.O_RDONLY), 4)"
    ),
    "punch a hole: a document with zeros": "call(285, os.open(FILE, os.O_RDONLY), 3, 0, 4096)",
    "defragment: a document written anew": IOCTL.format("FILE", "0x50009402", "4096"),
    "read-only off: a snapshot writable": IOCTL.format("SNAP", "0x4008941A", "struct.pack('Q', 0)"),
    "btrfs property set ro false: a snapshot writable": (
        'run("/usr/bin/btrfs", "property", "set", "-f", SNAP, "ro", "false")'
    ),
    "received subvolume: a snapshot's identity": IOCTL.format("SNAP", "0xC0C89425", "200"),
    "delete the snapshot: history lost": IOCTL.format(
        "TOP + '/datastore'", "0x5000940F", NAMED.format(0, "STAMP.encode()")
    ),
    "delete the snapshot by number: history lost": 'run("/usr/bin/btrfs", "subvolume", "delete", SNAP)',
    "a writable snapshot of it: another history": IOCTL.format(
        "OWN", "0x50009401", NAMED.format("os.open(SNAP, os.O_RDONLY)", "b'copy'")
    ),
    "a subvolume inside it: a place that is writable": IOCTL.format("SNAP", "0x5000940E", NAMED.format(0, "b'sub'")),
    "a subvolume beside it: a snapshot invented": IOCTL.format(
        "TOP + '/datastore'", "0x5000940E", NAMED.format(0, "b'2020-01-01T000000Z'")
    ),
    "a snapshot of incoming beside it: a snapshot invented": IOCTL.format(
        "TOP + '/datastore'", "0x50009401", NAMED.format("os.open(OWN, os.O_RDONLY)", "b'2020-01-01T000000Z'")
    ),
    "rename the snapshot: history hidden": "os.rename(SNAP, SNAP + 'x')",
    "rename the snapshot into incoming: history hers": "os.rename(SNAP, OWN + '/x')",
    "exchange the snapshot with incoming: history replaced": "call(316, -100, SNAP.encode(), -100, OWN.encode(), 2)",
    "rename datastore: history hidden": "os.rename(TOP + '/datastore', TOP + '/x')",
    "datastore-latest unlinked: no restore": "os.unlink(TOP + '/datastore-latest')",
    "datastore-latest replaced: a restore of her choice": (
        "os.rename((os.symlink('/etc', OWN + '/new'), OWN + '/new')[1], TOP + '/datastore-latest')"
    ),
    "datastore-latest exchanged: a restore of her choice": (
        "call(316, -100, own('e').encode(), -100, (TOP + '/datastore-latest').encode(), 2)"
    ),
    "mkdir in datastore: a snapshot invented": "os.mkdir(TOP + '/datastore/2020-01-01T000000Z')",
    "symlink in datastore: a snapshot invented": "os.symlink('/etc', TOP + '/datastore/2020-01-01T000000Z')",
    "keepsake written: a last copy changed": "write(KEPT)",
    "keepsake truncated: a last copy emptied": "os.truncate(KEPT, 0)",
    "keepsake unlinked: a last copy lost": "os.unlink(KEPT)",
    "keepsake renamed: a last copy hidden": "os.rename(os.path.dirname(KEPT), os.path.dirname(KEPT) + 'x')",
    "keepsakes renamed: last copies hidden": "os.rename(TOP + '/keepsakes', TOP + '/x')",
    "keepsake unreadable: a last copy useless": "os.chmod(KEPT, 0)",
    "keepsake's directory unreadable: a last copy useless": "os.chmod(os.path.dirname(KEPT), 0)",
    "keepsake dated otherwise: another version": "os.utime(KEPT, (0, 0))",
    "keepsake linked: a name that is writable": "os.link(KEPT, OWN + '/kept')",
    "keepsake invented: a document that never was": "os.mkdir(TOP + '/keepsakes/x')",
    "clone into a keepsake: a last copy replaced": (
        "fcntl.ioctl(os.open(KEPT, os.O_RDONLY), 0x40049409, os.open(own('c'), os.O_RDONLY))"
    ),
    "pins written: rotation misled": "write(TOP + '/pins.json')",
    "pins invented: rotation misled": "os.rename(own('pins'), TOP + '/pins.json')",
    "the disk remounted: everything writable": 'c("mount", 0, b"/library", 0, 32, 0)',
}


@pytest.fixture(scope="module")
def results(server: Ground, eve: Eve) -> dict[str, str]:
    """What became of each attempt with her uid."""
    top, stamp = f"/library/users/{eve.laptop.serial}", eve.stamps[0]
    tries = "".join(f"said[{name!r}] = attempt(lambda: {how})\n" for name, how in ATTEMPTS.items())
    file = server.run(f"find {top}/datastore/{stamp} -name data | head -1").strip()
    kept = server.run(f"find {top}/keepsakes -name data | head -1").strip()
    stamps = server.stamps(eve.laptop.serial)
    before = server.history(eve.laptop.serial, stamps)
    found = server.attempt(
        eve.uid, f"{inside.START}\nsaid = {{}}\n{tries}", TOP=top, OWN=f"{top}/datastore-current",
        SNAP=f"{top}/datastore/{stamp}", STAMP=stamp, FILE=file, KEPT=kept,
    )  # fmt: skip
    assert server.history(eve.laptop.serial, stamps) == before
    return found


@pytest.mark.parametrize("way", ATTEMPTS)
def test_her_uid_changes_no_history(results: dict[str, str], way: str) -> None:
    assert results[way].startswith("refused: "), results[way]


ACL = "os.setxattr({!r}, 'system.posix_acl_access', struct.pack('<IHHiHHiHHi', 2, 1, 0, -1, 4, 0, -1, 32, 0, -1))"


def test_an_access_list_makes_no_document_in_a_snapshot_unreadable(server: Ground, eve: Eve) -> None:
    """btrfs takes one, from a file's owner, in a read-only subvolume too; so the library takes none at all."""
    top = f"/library/users/{eve.laptop.serial}"
    file = server.run(f"find {top}/datastore/{eve.stamps[0]} -name data | head -1").strip()
    done = server.as_learner(eve.uid, f"import os, struct\n{ACL.format(file)}")
    assert "Operation not supported" in done.stderr
    assert server.run(f"stat --format=%a {file}").strip() == "644"


def test_a_deduplication_into_a_snapshot_changes_nothing(server: Ground, eve: Eve) -> None:
    """FIDEDUPERANGE takes a read-only descriptor of an owner's file; what is shared must be equal."""
    top = f"/library/users/{eve.laptop.serial}"
    file = server.run(f"find {top}/datastore/{eve.stamps[0]} -name data | head -1").strip()
    script = """
new = own("dedupe")
with open(new, "wb") as other:
    other.write(b"E" * os.stat(FILE).st_size)
size = 4096
into = struct.pack("qQQiI", os.open(FILE, os.O_RDONLY), 0, 0, 0, 0)
request = bytearray(struct.pack("QQHHI", 0, size, 1, 0, 0) + into)
said = {"did": attempt(lambda: fcntl.ioctl(os.open(new, os.O_RDONLY), 0xC0189436, request))}
said["status"], said["bytes"] = struct.unpack_from("i", request, 48)[0], struct.unpack_from("Q", request, 40)[0]
"""
    said = server.attempt(eve.uid, inside.START + script, FILE=file, OWN=f"{top}/datastore-current")
    assert said["bytes"] == 0
    assert said["did"].startswith("refused") or said["status"] != 0, said


@pytest.mark.parametrize(
    "target", ["../datastore", "../datastore/{stamp}", "../datastore-latest", "../keepsakes",
               "../keepsakes/{kept}/{stamp}",
               "/library/users/{eve}/datastore/{stamp}", "../.state"],
)  # fmt: skip
def test_a_link_beside_incoming_is_no_way_for_her_key_into_history(
    server: Ground, eve: Eve, tmp_path: Path, target: str
) -> None:
    """First the link, then what lies behind it as if it were a directory; deleted, too."""
    full = target.format(stamp=eve.stamps[0], kept=eve.kept, eve=eve.laptop.serial)
    links, files = tmp_path / "links", tmp_path / "files"
    (files / "way").mkdir(parents=True)
    (files / "way" / "version").write_text("7")
    links.mkdir()
    (links / "way").symlink_to(full)
    for source in (links, files, links, files):
        eve.laptop.push(f"{source}/", "documents")
    assert server.run(f"cat /library/users/{eve.laptop.serial}/documents/way/version") == "7"


def test_a_descriptor_kept_across_a_snapshot_writes_into_incoming_only(server: Ground, eve: Eve) -> None:
    """A file that is open for writing while its snapshot is made."""
    top = f"/library/users/{eve.laptop.serial}"
    name = eve.laptop.write("Held open")
    eve.laptop.back_up()
    path = f"{top}/datastore-current/{name[:2]}/{name}/data"
    script = (
        f"import os, time; d = os.open('{path}', os.O_RDWR); f = os.open('{top}/datastore-current', os.O_RDONLY)\n"
        "time.sleep(3); os.pwrite(d, b'Eve was here', 0); os.fsync(d); os.ftruncate(d, 20)\n"
        "open(os.open('after', os.O_CREAT | os.O_WRONLY, dir_fd=f), 'w').write('x')"
    )
    server.run(f'systemd-run --quiet --unit=holding --collect --uid={eve.uid} /usr/bin/python3 -IS -c "{script}"')
    eve.laptop.write("And one more")
    eve.laptop.back_up()
    newest = server.stamps(eve.laptop.serial)[-1]
    before = server.history(eve.laptop.serial, [newest])
    server.run("while systemctl is-active --quiet holding; do sleep .2; done")
    assert server.run(f"head -c 12 {path}") == "Eve was here"
    assert server.history(eve.laptop.serial, [newest]) == before


RACE = """
import os, sys, time
stop = time.monotonic() + 6
top = TOP + "/datastore/"
wanted = [name for name in WANTED]
known = set(os.listdir(top))
held = []
while time.monotonic() < stop and not held:
    for name in os.listdir(top):
        if name.endswith(".new"):
            for file in wanted:
                try:
                    held.append(os.open(f"{top}{name}/{file}", os.O_RDWR))
                except OSError:
                    pass
while time.monotonic() < stop and not set(os.listdir(top)) - known - {n for n in os.listdir(top) if n.endswith(".new")}:
    time.sleep(0.01)
time.sleep(0.5)
said = {"held": len(held), "written": 0}
for one in held:
    try:
        said["written"] += os.pwrite(one, b"Eve was here", 0)
        os.fsync(one)
    except OSError as error:
        said["why"] = str(error)
"""


def test_a_snapshot_that_is_being_made_cannot_be_opened_and_changed_when_it_is_finished(
    server: Ground, eve: Eve
) -> None:
    """Needs a way out of the jail: in it, the place where snapshots are made is not there."""
    top = f"/library/users/{eve.laptop.serial}"
    names = [eve.laptop.write("In the race", 100) for _ in range(3)]
    eve.laptop.back_up()
    wanted = [f"{name[:2]}/{name}/data" for name in names]
    for _ in range(4):
        with ThreadPoolExecutor() as pool:
            race = pool.submit(server.attempt, eve.uid, RACE, TOP=top, WANTED=wanted)
            time.sleep(1)
            eve.laptop.write("One more", 100)
            eve.laptop.back_up()
            said = race.result()
        newest = server.stamps(eve.laptop.serial)[-1]
        spoilt = server.run(f"cd {top}/datastore/{newest} && grep -l 'Eve was here' {' '.join(wanted)}; true")
        assert spoilt == "", f"{said}: a finished snapshot changed"
