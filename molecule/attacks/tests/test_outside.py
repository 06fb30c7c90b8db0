# SPDX-License-Identifier: GPL-3.0-or-later
"""Say that she got out of gate and jail: any program with Eve's uid, on the server itself. What holds then.

Each key says what it would gain.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import inside
from eve import Eve
from ground import Ground
from laptop import Laptop
from siege import Guard

ASK = """
import json, socket
def ask(name, request):
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(15)
        try:
            one.connect("/run/xs/" + name)
            one.sendall(request if isinstance(request, bytes) else json.dumps(request).encode() + b"\\n")
            said = one.recv(65536)
        except OSError as error:
            return {"error": str(error)}
    return json.loads(said) if said else {"error": "nothing"}
said = ask(NAME, REQUEST)
"""


def asked(server: Ground, eve: Eve, name: str, request: object) -> dict[str, Any]:
    """What the part behind the socket `name` answers a process of Eve's that is no gate."""
    return server.attempt(eve.uid, ASK, NAME=name, REQUEST=request)


DENIED = "Permission denied"
REQUESTS: dict[str, tuple[str, object, str]] = {
    "a place in Jim's name: his run held up": ("place", {"tree": "{jim}", "last": False}, "does not know"),
    "the end of Jim's run: his lease lost": ("place", {"tree": "{jim}", "last": True}, "does not know"),
    "a snapshot of Jim's unfinished run: half a run final": ("snapshot", {"tree": "{jim}"}, "another learner's tree"),
    "a ticket for Jim's page: his documents": ("ticket", {"tree": "{jim}"}, "another learner's tree|no tree|not"),
    "a place in a way up: another file": ("place", {"tree": "../{jim}"}, "does not know"),
    "a snapshot of a way up: another directory, by root": ("snapshot", {"tree": "../users/{jim}"}, "no tree is called"),
    "a snapshot of nothing: a crash of root's part": ("snapshot", {}, "no tree is called"),
    "a snapshot of a list: a crash of root's part": ("snapshot", {"tree": ["{jim}"]}, "no tree is called"),
    "a snapshot with a NUL: another directory, by root": ("snapshot", {"tree": "{jim}\0x"}, "no tree is called"),
    "a snapshot of a long name: a log filled": ("snapshot", {"tree": "x" * 60000}, "no tree is called"),
    "a ticket with a line break: a header of hers": ("ticket", {"tree": "{eve}\r\nSet-Cookie: x"}, "."),
    "a ticket of nothing: a crash of the page": ("ticket", {}, "."),
    "a uid in the request: root's rights": ("snapshot", {"tree": "{jim}", "uid": 0}, "another learner's tree"),
    "a registration past the rules: an account": ("registrar", {"op": "register", "serial": "SHC00000099"}, DENIED),
    "the front's own socket: permission in any name": ("permission", b"GET / HTTP/1.0\r\n\r\n", DENIED),
    "the page's own socket: a page without a ticket": ("journal", b"GET /journal/ HTTP/1.0\r\n\r\n", DENIED),
    "a line without end: the part's memory": ("snapshot", b"x" * 100_000, "nothing|Broken pipe|reset"),
    "nested brackets: the part's stack": ("snapshot", b"[" * 60_000 + b"\n", "nothing|Broken pipe|reset"),
    "no JSON: a crash of the part": ("place", b"\xff\xfe\x00\n", "nothing|Broken pipe|reset"),
    "a number instead of a request: a crash of the part": ("place", b"1e999\n", "nothing|Broken pipe|reset"),
}  # fmt: skip


@pytest.mark.parametrize("what", REQUESTS.values(), ids=REQUESTS)
def test_the_parts_know_who_asks(server: Ground, eve: Eve, jim: Laptop, what: tuple[str, object, str]) -> None:
    name, request_, answer = what
    if isinstance(request_, dict):
        request_ = json.loads(json.dumps(request_).replace("{jim}", jim.serial).replace("{eve}", eve.laptop.serial))
    said = asked(server, eve, name, request_)
    assert said.get("ok") is not True, said
    assert re.search(answer, str(said["error"])), said
    assert "url" not in said


# As in the jail: each must end in an OSError.
ATTEMPTS = {
    "list /library/users: all serials": 'os.listdir("/library/users")',
    "list Jim's tree: his snapshots": "os.listdir(JIM)",
    "read Jim's newest: his documents": 'os.listdir(JIM + "/datastore-latest/")',
    "read Jim's account: his key": 'read(JIM + "/account.json")',
    "write Jim's incoming: his next backup": 'write(JIM + "/datastore-current/x")',
    "enter Jim's .state: his lock and mark": 'write(JIM + "/.state/complete")',
    "a tree of her own: an account": 'os.mkdir("/library/users/SHC00000099")',
    "her own account: another uid": 'write(MINE + "/account.json")',
    "her own tree's top: a latest of her own": 'os.symlink("/etc", MINE + "/x")',
    "rename her own tree: Jim's place": "os.rename(MINE, JIM)",
    "her own pins: rotation misled": 'write(MINE + "/pins.json")',
    "Jim's key file: who he is": 'read(f"/etc/xs/keys/{THEIR_UID}")',
    "her own key file: a key without a gate": 'write(f"/etc/xs/keys/{os.getuid()}")',
    "the list of keys: all uids": 'os.listdir("/etc/xs/keys")',
    "learners: a child's other trees": 'write("/etc/xs/learners/x")',
    "settings: no limit": 'write("/etc/xs/accounts.toml")',
    "login names: root's uid": 'write("/var/lib/extrausers/passwd")',
    "registry.db: all serials": 'read("/var/lib/xs/registry.db")',
    "catalog.db: the titles of all documents": 'read("/var/lib/xs/catalog.db")',
    "audit.jsonl: who did what": 'read("/library/audit.jsonl")',
    "audit.jsonl: a trail of hers": 'open("/library/audit.jsonl", "a")',
    "seen.json: where everybody is": 'read("/var/lib/xs-permission/seen.json")',
    "the library's image: the whole disk": 'read("/var/lib/xs-library.img")',
    "the loop device: the whole disk": 'read("/dev/loop0")',
    "the server's ssh key: another server": 'read("/etc/ssh/ssh_host_ed25519_key")',
    "the school's key: another school": 'read("/library/school-key")',
    "the school's key, as sshd has it": 'read("/etc/xs/school-key")',
    "shadow: the technician's password": 'read("/etc/shadow")',
    "root's keys: a login as root": 'os.listdir("/root")',
    "the gate: a gate of hers": 'write("/usr/lib/schoolserver/gate")',
    "the package: code in every part": 'write("/usr/lib/python3/dist-packages/schoolserver/x.py")',
    "the log: what others do": 'run("journalctl", "--quiet", f"--grep={JIM[15:]}")',
    "systemd: a service as root": 'run("systemd-run", "--uid=0", "id")',
    "systemd: the snapshot part stopped": 'run("systemctl", "stop", "xs-snapshot.service")',
    "xs: accounts": 'run("xs", "laptop", "retire", "SHC00000000")',
    "xs: another's page": 'run("xs", "page", JIM[15:])',
    "nft: no firewall": 'run("nft", "flush", "ruleset")',
    "sshd on loopback: another login": 'connect(socket.AF_INET, ("127.0.0.1", 22))',
    "the front on loopback: permission in any name": 'connect(socket.AF_INET, ("127.0.0.1", 80))',
    "registration on loopback: accounts without a limit": 'connect(socket.AF_INET, ("127.0.0.1", 8080))',
    "the server's own address: registration": "connect(socket.AF_INET, (ADDRESS, 8080))",
    "another host: the school's network": "connect(socket.AF_INET, (OTHER, 22))",
    "a host far away: a way out of the school": 'connect(socket.AF_INET, ("192.0.2.1", 443))',
    "DNS: words out of the school": "connect(socket.AF_INET, (ADDRESS, 53), socket.SOCK_DGRAM)",
    "a datagram to another host: words out of the school": "connect(socket.AF_INET, (OTHER, 53), socket.SOCK_DGRAM)",
    "IPv6 loopback: a filter that knows IPv4 only": 'connect(socket.AF_INET6, ("::1", 8080))',
    "a raw socket: packets that no filter knows": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)",
    "a packet socket: others' traffic": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)",
    "port 80: a front of hers": 'socket.create_server(("", 81))',
    "signal to Jim's session: his backup broken off": "os.kill(THEIRS, 9)",
    "signal to a part: nobody served": "os.kill(PART, 15)",
    "ptrace of Jim's session: his documents": "call(101, 16, THEIRS, 0, 0)",
    "memory of Jim's session: his documents": 'read(f"/proc/{THEIRS}/mem")',
    "root directory of Jim's session: his incoming": 'os.listdir(f"/proc/{THEIRS}/root/")',
    "directory of Jim's session: his incoming": 'os.listdir(f"/proc/{THEIRS}/cwd/")',
    "descriptors of Jim's session: what he sends": 'os.listdir(f"/proc/{THEIRS}/fd")',
    "environment of Jim's session: his address": 'read(f"/proc/{THEIRS}/environ")',
    "namespaces of Jim's session: his jail from inside": 'os.open(f"/proc/{THEIRS}/ns/mnt", os.O_RDONLY)',
    "a device on the library: the whole disk": 'os.mknod(MINE + "/documents/d", 0o60666, os.makedev(7, 0))',
    "a set-uid file of hers run by others: nothing, it is data": (
        'run((own("s"), os.chmod(OWN + "/s", 0o4755))[0] or OWN + "/s")'
    ),
    "chown to Jim: his allowance filled": 'os.chown(own("c"), THEIR_UID, -1)',
    "group of Jim: a file that he reads as his": 'os.chown(own("c"), -1, THEIR_UID)',
    "a hard link to Jim's file: his document under her name": 'os.link(JIM + "/account.json", OWN + "/l")',
    "a hard link to the password file: a file that root writes": 'os.link("/etc/passwd", OWN + "/l")',
    "more processes than hers: a fork bomb": "os.setuid(0)",
    "mount: a library of hers": 'c("mount", b"x", OWN.encode(), b"tmpfs", 0, 0)',
}  # fmt: skip


@contextmanager
def jims_session(jim: Laptop, server: Ground) -> Iterator[int]:
    """A session of Jim's that is under way; the process id of its rsync."""
    uid = server.uid_of(jim.serial)
    command = [*jim._ssh(), jim.server, "rsync --server -ltre.i --timeout=60 . power-logs"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as session:
        try:
            until = time.monotonic() + 15
            look = f"grep -lsE '^Uid:\\s+{uid}\\s' /proc/[0-9]*/status | xargs -r grep -ls '^Name:.rsync' | head -1"
            while not (found := server.run(f"{look}; true").strip()):
                assert time.monotonic() < until
                time.sleep(0.1)
            yield int(found.split("/")[2])
        finally:
            session.kill()


@pytest.fixture(scope="module")
def results(server: Ground, eve: Eve, jim: Laptop) -> dict[str, str]:
    """What became of each attempt."""
    mine = f"/library/users/{eve.laptop.serial}"
    tries = "".join(f"said[{name!r}] = attempt(lambda: {how})\n" for name, how in ATTEMPTS.items())
    gateway = str(ipaddress.ip_network(f"{server.address}/24", strict=False)[1])
    with jims_session(jim, server) as theirs:
        return server.attempt(
            eve.uid, f"{inside.START}\nsaid = {{}}\n{tries}", OWN=f"{mine}/documents", MINE=mine,
            JIM=f"/library/users/{jim.serial}", ADDRESS=server.address, OTHER=gateway, THEIRS=theirs,
            THEIR_UID=server.uid_of(jim.serial),
            PART=int(server.run("systemctl show --property=MainPID --value xs-snapshot.service")),
        )  # fmt: skip


@pytest.mark.parametrize("way", ATTEMPTS)
def test_her_uid_alone_gets_no_further(results: dict[str, str], way: str) -> None:
    assert results[way].startswith("refused: "), results[way]


def test_places_that_she_holds_outside_cost_nobody_one_while_the_permission_part_runs(
    server: Ground, eve: Eve, guard: Guard
) -> None:
    """`\\0xs-place-<n>` are for the time when that part is down."""
    script = (
        "import socket, time\nheld = [socket.socket(socket.AF_UNIX) for _ in range(4)]\n"
        "for number, one in enumerate(held): one.bind(f'\\0xs-place-{number}')\ntime.sleep(60)"
    )
    start = f"systemd-run --quiet --unit=hers --collect --uid={eve.uid} /usr/bin/python3 -IS -c"
    server.run(f"{start} {shlex.quote(script)}")
    try:
        server.run("for i in $(seq 50); do ss --all --unix | grep -q xs-place-3 && exit; sleep .1; done; exit 1")
        guard.serve()
    finally:
        server.run("systemctl stop hers")


def test_a_part_that_is_asked_by_many_at_once_still_hears_jim(server: Ground, eve: Eve, guard: Guard) -> None:
    script = """
import socket
said = {}
held = []
for name in ("place", "ticket") * 60:
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(2)
    try:
        one.connect("/run/xs/" + name)
        one.sendall(b'{"tree": "' + MINE.encode() + b'"}\\n')
        held.append(one)
    except OSError as error:
        said[len(held)] = str(error)
"""
    server.attempt(eve.uid, script, MINE=eve.laptop.serial)
    guard.serve()


OWNED_PAGE = {
    "permissions of Jim's tree: everybody in": "os.chmod(JIM, 0o777)",
    "Jim's tree given away: his documents": "os.chown(JIM, -1, os.getgid())",
    "a file in Jim's tree: pins of hers": 'write(JIM + "/x")',
    "Jim's newest snapshot: his history lost": 'os.unlink(JIM + "/datastore-latest")',
    "an access list: readers of hers": "os.setxattr(JIM, 'system.posix_acl_access', struct.pack('<I', 2))",
    "a mark on Jim's tree: what others may read": "os.setxattr(JIM, 'user.x', b'x')",
    "a snapshot's way out of read-only: history rewritten": (
        "fcntl.ioctl(os.open(JIM + '/datastore-current', os.O_RDONLY), 0x4008941A, bytearray(struct.pack('Q', 2)))"
    ),
}


@pytest.fixture(scope="module")
def by_the_page(server: Ground, jim: Laptop) -> dict[str, str]:
    """What became of each attempt of a Journal page that is Eve's: its uid owns the tops of all trees."""
    assert jim.page().documents()  # so that it runs
    tries = "".join(f"said[{name!r}] = attempt(lambda: {how})\n" for name, how in OWNED_PAGE.items())
    text = f"JIM = '/library/users/{jim.serial}'\n{inside.START}\nsaid = {{}}\n{tries}\nprint(json.dumps(said))"
    process = server.run("systemctl show --property=MainPID --value xs-journal.service").strip()
    enter = f"nsenter --target {process} --mount setpriv --reuid=xs-journal --regid=xs-journal --clear-groups --inh-caps=-all"
    said = json.loads(server.run(f"{enter} /usr/bin/python3 -IS -c {shlex.quote(text)}"))
    assert isinstance(said, dict)
    return said


@pytest.mark.parametrize("way", OWNED_PAGE)
def test_a_page_that_is_hers_changes_no_tree(by_the_page: dict[str, str], way: str) -> None:
    assert by_the_page[way].startswith("refused: "), by_the_page[way]


def test_a_part_that_she_keeps_waiting_forty_times_hears_jim_meanwhile(
    server: Ground, eve: Eve, jim: Laptop, guard: Guard
) -> None:
    """Nobody's run becomes a snapshot, nobody gets a place: for three seconds each. The last test here: hers is not heard."""
    script = """
import socket, time
held = []
for number in range(120):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(1)
    try:
        one.connect("/run/xs/" + ("snapshot", "place", "ticket")[number % 3])
        one.sendall(b"{" if number % 2 else b"")
        held.append(one)
    except OSError:
        continue
time.sleep(60)
"""
    server.mark()
    start = f"systemd-run --quiet --unit=hers --collect --uid={eve.uid} /usr/bin/python3 -IS -c"
    server.run(f"{start} {shlex.quote(script)}")
    try:
        before = len(server.stamps(jim.serial))
        guard.serve()
        assert len(server.stamps(jim.serial)) == before + 1, "a run is a snapshot at once, as ever"
    finally:
        server.run("systemctl stop hers")
    for part in ("snapshot", "permission", "journal"):
        assert (
            server.run(f"journalctl --quiet --unit=xs-{part} --since={server._since} | grep -c 'said nothing'") == "1"
        )
