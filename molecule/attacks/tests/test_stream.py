# SPDX-License-Identifier: GPL-3.0-or-later
"""The allowed command, and a hostile rsync behind it: names, links, kinds of files, and the protocol itself.

What is not refused by rsync lands in Eve's incoming, as data; nobody who reads it later is led anywhere.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from eve import PUSH, Eve
from ground import Ground
from laptop import Laptop
from siege import SECRET

PLAIN = ("-rlt",)
# What of hers lies outside of what she may write (where it may lie in any way), on the whole server.
ASTRAY = (
    "find / /library -xdev -name '*eve-was-here*' -not -path '/proc/*' | "
    "grep -vE '^/library/users/[^/]+/(documents|datastore-current|datastore/[^/]+)/'; true"
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What Eve sends."""
    place = tmp_path / "source"
    place.mkdir()
    return place


def incoming(server: Ground, eve: Eve, what: str = "documents") -> str:
    """Return where her files land."""
    return f"/library/users/{eve.laptop.serial}/{what}"


# Each name has as many bytes as the one that takes its place in the stream.
NAMES: dict[str, tuple[str, bytes]] = {
    "a way up: a file beside her tree": ("AAAAAAAAAAAAAAA", b"../eve-was-here"),
    "two ways up: a file beside all trees": ("BBBBBBBBBBBBBBBBBB", b"../../eve-was-here"),
    "a way up inside: a file beside her tree": ("CCCCCCCCCCCCCCCCC", b"a/../eve-was-here"),
    "a whole path: a file of the server's": ("DDDDDDDDDDDDDDDDD", b"/etc/eve-was-here"),
    "a whole path to /tmp: a file for others": ("EEEEEEEEEEEEEEEEE", b"/tmp/eve-was-here"),
    "double slash: a file of the server's": ("FFFFFFFFFFFFFFFFF", b"//tm/eve-was-here"),
    "dots only: the directory itself": ("GG", b".."),
}


@pytest.mark.parametrize(("name", "becomes"), NAMES.values(), ids=NAMES)
def test_a_name_that_leads_out_is_refused_by_rsync(
    server: Ground, eve: Eve, source: Path, name: str, becomes: bytes
) -> None:
    (source / name).write_text("Eve was here")
    done = eve.mangled(source, "documents", *PLAIN, swaps={name.encode(): becomes})
    assert done.returncode != 0, done.stderr
    assert server.run(ASTRAY) == ""


# Links that point at what Eve would like to read or write.
TARGETS = {
    "/etc/passwd: login names": "/etc/passwd",
    "Jim's tree: his documents": "/library/users/{jim}/datastore-latest",
    "Jim's tree by a way up: his documents": "../../{jim}/datastore-latest",
    "her own .state: the mark of a run that never was": "../.state",
    "her own history: history rewritten": "../datastore",
    "the server's root: everything": "../../../..",
    "the catalog: all titles": "/var/lib/xs/catalog.db",
    "standard input of who reads it: a reader that hangs": "/dev/stdin",
    "itself: a reader that never ends": "documents",
}


@dataclass(frozen=True)
class Followed:
    """Documents of Eve's in which a link stands: for each target, and for each place in an entry."""

    links: dict[str, dict[str, str]]  # {target: {place: uid}}
    leads: dict[str, str]  # {target: where the link leads}
    back: Path  # what she reads back
    pages: dict[str, bytes]  # what the page shows of each uid
    listing: bytes


def entry(laptop: Laptop, uid: str) -> Path:
    """Return where the document `uid` lies on the laptop."""
    return laptop.datastore / uid[:2] / uid


PLACES: dict[str, Callable[[Path], Path]] = {
    "its data": lambda one: one / "data",
    "a property": lambda one: one / "metadata" / "title",
    "its picture": lambda one: one / "metadata" / "preview",
    "its properties": lambda one: one / "metadata",
    "itself": lambda one: one,
}


@pytest.fixture(scope="module")
def followed(eve: Eve, jim: Laptop, tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """All of them in one run, then deleted, so that they become keepsakes."""
    laptop, back = eve.laptop, tmp_path_factory.mktemp("back")
    links: dict[str, dict[str, str]] = {}
    leads = {target: target.format(jim=jim.serial) for target in TARGETS.values()}
    for target in TARGETS.values():
        for place, at in PLACES.items():
            uid = laptop.write("A link in it", 100)
            links.setdefault(target, {})[place] = uid
            path = at(entry(laptop, uid))
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            path.symlink_to(leads[target])
    assert laptop.push(f"{laptop.datastore}/", "datastore-current").exit == 0
    assert laptop.fetch("datastore-latest/", back).exit == 0
    page = laptop.page()
    listing = laptop.get("/journal/", Cookie=page.cookie)[2]
    pages = {
        uid: laptop.get(f"/journal/document/{uid}", Cookie=page.cookie)[2]
        for uids in links.values() for uid in uids.values()
    }  # fmt: skip
    for uid in pages:
        if entry(laptop, uid).is_symlink():
            entry(laptop, uid).unlink()
        else:
            laptop.delete(uid)
    assert laptop.push(f"{laptop.datastore}/", "datastore-current").exit == 0
    return Followed(links, leads, back, pages, listing)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_link_is_sent_back_as_a_link_and_nobody_follows_it(
    server: Ground, eve: Eve, followed: Followed, target: str, place: str
) -> None:
    """As a document, as its data, as its properties: by snapshot, catalog, page, keepsake, and by who reads it back."""
    uid = followed.links[target][place]
    path = PLACES[place](followed.back / uid[:2] / uid)
    assert os.readlink(path) == followed.leads[target]
    for text in (followed.listing, followed.pages[uid]):
        assert SECRET.encode() not in text
        assert b"root:x:0:0" not in text
    kept = f"/library/users/{eve.laptop.serial}/keepsakes/{uid}"
    assert server.run(f"find {kept} -type l 2>/dev/null; true") == ""
    assert server.run(f"grep -rlsF -e '{SECRET}' -e root:x:0:0 {kept}; true") == ""


SWAPPED = {
    "a link to /etc, and a file in it: a file of the server's": "/etc",
    "a link up, and a file in it: a file beside her tree": "..",
    "a link to .state, and a file in it: a mark": "../.state",
    "a link to Jim's tree, and a file in it: his documents": "../../{jim}/datastore-current",
}


@pytest.mark.parametrize("target", SWAPPED.values(), ids=SWAPPED)
def test_a_directory_that_becomes_a_link_during_the_transfer_leads_nowhere(
    server: Ground, eve: Eve, jim: Laptop, source: Path, target: str
) -> None:
    """One list with a link and a directory of one name, and a file below: what was checked is not what is used."""
    (source / "aaaa").symlink_to(target.format(jim=jim.serial))
    (source / "bbbb").mkdir()
    (source / "bbbb" / "eve-was-here").write_text("x")
    for old, new in ((b"bbbb", b"aaaa"), (b"aaaa", b"bbbb")):
        eve.mangled(source, "documents", *PLAIN, swaps={old: new})
        eve.mangled(source, "documents", *PLAIN, "--delete", swaps={old: new})
        there = server.run(f"ls {incoming(server, eve)}").split()
        assert new.decode() in there, "rsync saw one name for both"
        assert old.decode() not in there, "rsync saw one name for both"
    assert server.run(ASTRAY) == ""


def fifo(path: Path) -> None:
    """Make a pipe."""
    os.mkfifo(path)


def listening(path: Path) -> None:
    """Make a socket."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def with_mode(mode: int) -> Callable[[Path], None]:
    """Return what makes a program with that mode."""

    def make(path: Path) -> None:
        path.write_text("#!/bin/sh\nid\n")
        path.chmod(mode)

    return make


KINDS: dict[str, Callable[[Path], None]] = {
    "a fifo: a reader that hangs": fifo,
    "a socket: a reader that hangs": listening,
    "a disk: all that is on it": lambda path: os.mknod(path, 0o60666, os.makedev(7, 0)),
    "memory: all that is in it": lambda path: os.mknod(path, 0o20666, os.makedev(1, 1)),
    "set-uid: a program as her, for others": with_mode(0o4755),
    "set-gid: a program with her group": with_mode(0o2755),
    "sticky and writable by all: a place for others": with_mode(0o1777),
    "mode 0: a file that no service can read": with_mode(0),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_what_is_no_plain_file_does_not_arrive_as_such(
    server: Ground, eve: Eve, source: Path, make: Callable[[Path], None]
) -> None:
    make(source / "strange")
    # The laptop's side claims -D -p -o -g for itself; the server is asked the old client's words.
    for options in (PLAIN, ("-rlt", "--rsync-path=rsync", "-p"), ("-rltD",)):
        eve.laptop._rsync(*options, f"{source}/", f"{eve.laptop.server}:documents")
    found = server.run(f"find {incoming(server, eve)} -name strange -printf '%y %m\\n'")
    assert found in ("", "f 644"), found


def test_a_stream_that_claims_devices_is_not_believed(server: Ground, eve: Eve, source: Path) -> None:
    """A plain file's mode becomes a device's, a fifo's, a socket's in the list: rsync was told of none of them."""
    before = stat.S_IFREG | 0o640
    (source / "strange").write_text("x")
    (source / "strange").chmod(0o640)
    for kind in (stat.S_IFBLK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK):
        eve.mangled(source, "documents", *PLAIN, swaps={struct.pack("<I", before): struct.pack("<I", kind | 0o640)})
        assert server.run(f"find {incoming(server, eve)} -type b -o -type c -o -type p -o -type s") == ""


def test_a_mode_in_the_stream_is_not_kept(server: Ground, eve: Eve, source: Path) -> None:
    (source / "program").write_text("x")
    (source / "program").chmod(0o640)
    old, new = struct.pack("<I", stat.S_IFREG | 0o640), struct.pack("<I", stat.S_IFREG | 0o6777)
    assert eve.mangled(source, "documents", *PLAIN, swaps={old: new}).returncode == 0
    assert server.run(f"stat --format=%a {incoming(server, eve)}/program").strip() == "644"


def test_hard_links_and_attributes_are_left_out(server: Ground, eve: Eve, source: Path) -> None:
    (source / "one").write_text("x" * 100)
    os.link(source / "one", source / "two")
    os.setxattr(source / "one", "user.eve", b"was here")
    eve.laptop._rsync("-rltHXA", f"{source}/", f"{eve.laptop.server}:documents")  # refused by the gate
    assert eve.laptop._rsync(*PLAIN, f"{source}/", f"{eve.laptop.server}:documents").exit == 0
    place = incoming(server, eve)
    assert server.run(f"stat --format='%h %i' {place}/one {place}/two").split()[::2] == ["1", "1"]
    script = f"import os; print(os.listxattr('{place}/one'))"
    assert server.run(f'python3 -c "{script}"').strip() == "[]"


STRANGE = {
    "a newline: a second line for who lists it": b"a\nb",
    "an escape: the technician's terminal": b"\x1b]0;pwned\x07\x1b[2J",
    "carriage return: a line over another": b"safe\rrm -rf",
    "no UTF-8: a reader that stops": b"\xff\xfe\x80",
    "half a surrogate: a reader that stops": b"\xed\xa0\x80",
    "255 bytes: a buffer": b"x" * 255,
    "255 bytes of signs: a buffer": "ü".encode() * 127,
    "right to left: a name that reads otherwise": "\u202egpj.exe".encode(),
    "an option: a word on a command line": b"--checkpoint-action=exec=sh",
    "a command: a shell that lists it": b"$(touch eve-was-here)",
    "markup: a page that is hers": b"<script>alert(1)<|script>",
    "a quote: a query that is hers": b"'; DROP TABLE versions; --",
    "three dots: a way up for who counts badly": b"...",
    "spaces only: a name that is trimmed": b"   ",
    "the name of ours: a snapshot for who looks": b".2026-01-01T000000Z.new",
    "rsync's own temporary name: a file overwritten": b".version.aB3dE6",
}


@pytest.fixture(scope="module")
def strange(eve: Eve, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """All of them in one run: as files, as directories, as properties; and what is read back of them."""
    laptop, back = eve.laptop, tmp_path_factory.mktemp("strange")
    uid = laptop.write("Strange")
    places = {"file": laptop.datastore, "property": entry(laptop, uid) / "metadata"}
    for name in STRANGE.values():
        for place in places.values():
            with open(os.fsencode(place) + b"/" + name, "wb") as file:
                file.write(b"Strange \x00\xff\x1b[2J")
        os.mkdir(os.fsencode(laptop.datastore) + b"/" + name[:250] + b".dir")
    assert laptop.push(f"{laptop.datastore}/", "datastore-current").exit == 0
    assert laptop.fetch("datastore-latest/", back).exit == 0
    assert uid in laptop.page().documents()
    cookie = laptop.page().cookie
    return {
        "files": os.listdir(os.fsencode(back)),
        "properties": os.listdir(os.fsencode(back / uid[:2] / uid / "metadata")),
        "page": [laptop.get(f"/journal/document/{uid}", Cookie=cookie)[2]],
    }


@pytest.mark.parametrize("name", STRANGE.values(), ids=STRANGE)
def test_a_strange_name_is_data_in_every_part(server: Ground, strange: dict[str, list[bytes]], name: bytes) -> None:
    """Through gate, snapshot, catalog and page, and back."""
    assert name in strange["files"]
    assert name[:250] + b".dir" in strange["files"]
    assert name in strange["properties"]
    assert b"<script>alert" not in strange["page"][0]
    assert b"\x1b" not in strange["page"][0]
    assert server.run(ASTRAY) == ""


def test_a_name_with_a_nul_ends_there_for_what_a_filter_does_not_see(server: Ground, eve: Eve, source: Path) -> None:
    (source / "HHHHHHHHHHHHHH").write_text("x")
    eve.mangled(source, "documents", *PLAIN, swaps={b"HHHHHHHHHHHHHH": b"x\0eve-was-here"})
    assert server.run(ASTRAY) == ""


def test_a_tree_a_hundred_deep_is_taken_and_given_back(eve: Eve, server: Ground, tmp_path: Path) -> None:
    """Its gain would be a reader that calls itself once too often."""
    laptop = eve.laptop
    deep = laptop.datastore / "/".join(["d" * 20] * 100)
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    assert laptop.push(f"{laptop.datastore}/", "datastore-current").exit == 0
    back = tmp_path / "back"
    assert laptop.fetch("datastore-latest/", back).exit == 0
    assert (back / deep.relative_to(laptop.datastore) / "file").exists()
    assert laptop.page().documents()
    shutil.rmtree(laptop.datastore / ("d" * 20))
    assert laptop.push(f"{laptop.datastore}/", "datastore-current").exit == 0
    assert server.failed_units() == []


def test_a_sparse_file_larger_than_a_laptop_may_send_ends_the_run(eve: Eve, server: Ground, source: Path) -> None:
    """A terabyte of nothing: the disk for who reads it, the memory for who lists it."""
    with (source / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with server.settings(file_bytes=10_000_000):
        said = eve.laptop._rsync("-rltz", f"{source}/", f"{eve.laptop.server}:documents")
    assert said.exit != 0
    assert int(server.run(f"du -s --apparent-size -k {incoming(server, eve)}").split()[0]) < 20_000


def raw(eve: Eve, sent: bytes, command: str = PUSH) -> bytes:
    """Send `sent` in place of an rsync client's words, and return what the server's rsync said."""
    said = eve.say(command, sent)
    assert said.exit not in (0, 24), said
    return said.out + said.err


HELLO = struct.pack("<I", 29)  # an old protocol: nothing is negotiated after it, and the client's words are not framed


STREAMS: dict[str, bytes] = {
    "nothing: a place that is held": b"",
    "noise: a parser": os.urandom(4096),
    "a protocol of the future: what nobody tested": struct.pack("<I", 10_000) + bytes(100),
    "a protocol below all: code that nobody uses": struct.pack("<I", 0) + bytes(100),
    "a negative protocol: an index before an array": struct.pack("<i", -1) + bytes(100),
    "filters without end: memory": HELLO + struct.pack("<I", 0x7FFFFFFF) + b"x" * 100_000,
    "a filter of a negative length: an index before an array": HELLO + struct.pack("<i", -5) + b"x" * 100,
    "a filter that merges a file: login names in the answer": (
        HELLO + struct.pack("<I", 19) + b": /etc/passwd      " + struct.pack("<I", 0) + b"\0" + struct.pack("<I", 0)
    ),
    "a name of a negative length: an index before an array": (
        HELLO + struct.pack("<I", 0) + b"\x40" + struct.pack("<i", -1) + b"x" * 100
    ),
    "a name of 2 GiB: memory": HELLO + struct.pack("<I", 0) + b"\x40" + struct.pack("<I", 0x7FFFFFFF) + b"x" * 1000,
    "a link of 2 GiB: memory": (
        HELLO
        + struct.pack("<I", 0)
        + b"\x00\x01a"
        + struct.pack("<III", 0, 0, 0o120777)
        + struct.pack("<I", 0x7FFFFFF0)
    ),
    "sizes below nothing: an index before an array": (
        HELLO
        + struct.pack("<I", 0)
        + b"\x00\x01a"
        + struct.pack("<iII", -2, 0, 0o100644)
        + b"\0"
        + struct.pack("<I", 0)
    ),
    "an answer for a file that is not there: an index behind an array": (
        HELLO
        + struct.pack("<I", 0)
        + b"\0"
        + struct.pack("<I", 0)
        + struct.pack("<iH", 0x7FFFFFF0, 0x8000)
        + bytes(100)
    ),
    "blocks without number: memory": (
        HELLO
        + struct.pack("<I", 0)
        + b"\x00\x01a"
        + struct.pack("<III", 5, 0, 0o100644)
        + b"\0"
        + struct.pack("<I", 0)
        + struct.pack("<iHIIII", 0, 0x8000, 0x7FFFFFFF, 0x7FFFFFFF, 16, 0)
        + bytes(1000)
    ),
    "a frame without end: memory": struct.pack("<I", 31) + b"\xff\xff\xff\xff" * 1000,
}


@pytest.mark.parametrize("sent", STREAMS.values(), ids=STREAMS)
def test_a_stream_that_is_none_ends_in_an_error_and_changes_nothing(server: Ground, eve: Eve, sent: bytes) -> None:
    tree = f"/library/users/{eve.laptop.serial}"
    # The marks of complete runs, an earlier one's of documents among them.
    look = f"cd {tree}; ls datastore; find datastore-current -type f | wc -l; ls .state | grep ^complete"
    before = server.run(f"{look}; true")
    said = raw(eve, sent, PUSH.replace("--timeout=160", "--timeout=3"))
    assert b"root:x" not in said
    assert server.run(f"{look}; true") == before


# s2length: how long rsync shall believe that a block's sum is. A sum has 16 bytes.
SUMS = {
    "CVE-2024-12084: the sender's heap, written": 64,
    "CVE-2024-12085: the sender's stack, read a byte at a time": 17,
    "a sum of a negative length: an index before an array": -1,
}


@pytest.mark.parametrize("length", SUMS.values(), ids=SUMS)
def test_a_sum_longer_than_sums_are_is_refused_by_rsync(eve: Eve, length: int) -> None:
    """Sent as who reads back would: no filters, then the first file's blocks, whose sums say how long they are."""
    sums = struct.pack("<I", 1) + b"\x41" * max(length, 0)
    blocks = struct.pack("<iHiiii", 1, 0x8000, 1, 700, length, 0) + sums
    said = raw(
        eve, HELLO + struct.pack("<I", 0) + blocks, "rsync --server --sender -ltre.i --timeout=3 . datastore-latest/"
    )
    assert b"Invalid checksum length" in said, said


def test_a_hundred_thousand_names_cost_the_server_little_and_are_too_many(
    server: Ground, eve: Eve, source: Path
) -> None:
    """A list that fills memory or the disk with names alone."""
    for number in range(200):
        (source / f"{number}").mkdir()
        for one in range(100):
            (source / f"{number}" / f"{one}").symlink_to("x")
    with server.settings(learner_files=5000):
        for _ in range(2):
            eve.laptop._rsync("-rlt", f"{source}/", f"{eve.laptop.server}:documents")
        server.mark()
        said = eve.laptop._rsync("-rlt", f"{source}/", f"{eve.laptop.server}:documents")
        assert "more than 5000 files came from this laptop" in said.err
        server.told("more than 5000 files", of="xs-gate")
    empty = source.parent / "empty"
    empty.mkdir()
    assert eve.laptop.push(f"{empty}/", "documents").exit in (0, 12)
    assert eve.laptop.push(f"{empty}/", "documents").exit == 0
