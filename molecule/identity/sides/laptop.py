# SPDX-License-Identifier: GPL-3.0-or-later
"""A laptop, played by this machine: what Sugar and the client of 2008 to 2014 say to a school server, word for word.

Each has a directory of its own, with its key and its Journal, and an address of its own in the school's network.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
import uuid
import xmlrpc.client
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reading import Item, items

SUGAR_SECONDS = 8.0  # Sugar waits no longer for the answer to a registration
RSYNC = ("/usr/bin/rsync", "-z", "-rlt")
SITE = "schoolserver"

# {uid: every file of the document as "<sha256>  <path>", sorted}: two sides hold the same document where this is equal.
Documents = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Said:
    """How a command over ssh ended, and what it said."""

    exit: int
    out: str
    err: str

    def words(self) -> str:
        """Return what the server said; fail if it let the laptop have its way."""
        assert self.exit != 0, f"it was not refused, and said {self.out!r}"
        return self.err


@dataclass(frozen=True)
class Sent:
    """What a backup sent of the Journal, as rsync tells."""

    files: tuple[str, ...]  # those that the server did not have as they are
    bytes: int  # with everything that is said around them, compressed


@dataclass
class Laptop:
    """One laptop with its child at it."""

    home: Path
    server: str  # address of the school server
    address: str  # its own
    serial: str
    uuid: str
    nick: str
    login: str = ""  # old clients log in under their serial; another name only where a test says so
    backed_up: Documents = field(default_factory=dict)  # every document of a complete run, as it was last

    @classmethod
    def made(cls, home: Path, kind: str, *, server: str, address: str, serial: str, uuid: str, nick: str) -> Laptop:
        """Return a laptop with a new key of the type `kind` and an empty Journal, in the directory `home`."""
        home.mkdir(parents=True)
        _run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(home / "owner.key"))
        (home / "datastore").mkdir()
        (home / "datastore" / "version").write_text("6", encoding="ascii")
        made = cls(home, server, address, serial, uuid, nick)
        made.save()
        return made

    @classmethod
    def found(cls, home: Path) -> Laptop:
        """Return the laptop that save() left in the directory `home`."""
        facts = json.loads((home / "laptop.json").read_text(encoding="utf-8"))
        documents = {name: tuple(files) for name, files in facts.pop("backed_up").items()}
        return cls(home, **facts, backed_up=documents)

    def save(self) -> None:
        """Write down all that found() needs."""
        facts = {name: value for name, value in asdict(self).items() if name != "home"}
        (self.home / "laptop.json").write_text(json.dumps(facts), encoding="utf-8")

    # Registration, as Sugar does it.

    @property
    def pubkey(self) -> str:
        """The public key as Sugar sends it: its base64 body alone."""
        return (self.home / "owner.key.pub").read_text(encoding="ascii").split()[1]

    def register(self) -> dict[str, str]:
        """Register, and return the server's answer."""
        return register(
            self.server, self.address, serial=self.serial, nick=self.nick, uuid=self.uuid, pubkey=self.pubkey
        )

    def settled(self, documents: int = 3) -> Laptop:
        """Register, make so many documents and back them up; return the laptop itself."""
        answer = self.register()
        assert answer["success"] == "OK", answer
        self.write_many(documents)
        self.back_up()
        return self

    # The Journal, in Sugar's layout 6.

    @property
    def datastore(self) -> Path:
        """Where the Journal lies."""
        return self.home / "datastore"

    def write(self, title: str, size: int = 50_000) -> str:
        """Make a document with contents that no other has, and return its uid."""
        name = str(uuid.uuid4())
        entry = self.datastore / name[:2] / name
        (entry / "metadata").mkdir(parents=True)
        properties = {
            "uid": name, "title": title, "activity": "org.laptop.AbiWordActivity", "mime_type": "text/plain",
            "timestamp": "1790000000", "mtime": "2026-09-21T14:13:20",
        }  # fmt: skip
        for key, value in properties.items():
            (entry / "metadata" / key).write_text(value, encoding="utf-8")
        (entry / "data").write_bytes(random.Random(name).randbytes(size))
        return name

    def write_many(self, number: int, size: int = 50_000) -> list[str]:
        """Make `number` documents and return their uids."""
        return [self.write(f"{self.nick}'s story {one + 1}", size) for one in range(number)]

    def delete(self, name: str) -> None:
        """Delete a document, as children do to make room."""
        shutil.rmtree(self.datastore / name[:2] / name)

    def journal(self) -> Documents:
        """Return what the Journal holds now."""
        return documents_in(self.datastore)

    # What the old client asks and sends.

    def permission(self) -> tuple[int, str]:
        """Ask whether a backup may start now; return the status, and the reason for a no."""
        status, headers, body = self.get(f"/backup/1/available/{self.serial}")
        assert status != 200 or body == b"", "an old client expects nothing"
        return status, headers.get("X-XS-Reason", "")

    def back_up(self) -> Sent:
        """Ask for permission, send everything, the flag last; return what the Journal cost. Fail if it fails."""
        answer = self.permission()
        assert answer == (200, ""), f"{self.serial}: not now: {answer}"
        before = self.journal()
        log = self.home / "rsync.log"
        log.unlink(missing_ok=True)
        # It stays on this side: the server is asked the old client's very words.
        said = self.push(f"{self.datastore}/", "datastore-current", f"--log-file={log}", "--log-file-format=%n")
        assert said.exit == 0, said.err
        for name in ("power-logs", "documents"):  # a client from before 0.13 has neither
            if (self.home / name).is_dir():
                also = self.push(f"{self.home / name}/", name)
                assert also.exit == 0, also.err
        with tempfile.NamedTemporaryFile() as flag:
            completion = f"{self.server}:/var/lib/ds-backup/completion/{self.serial}"
            ended = self._rsync("--timeout", "10", "-T", "/tmp", flag.name, completion)
            assert ended.exit == 0, ended.err
        self.backed_up |= before
        self.save()
        return _sent(log.read_text(encoding="utf-8"))

    def push(self, source: str, target: str, *options: str) -> Said:
        """Make the server's `target` a mirror of `source`."""
        return self._rsync("--partial", "--delete", "--timeout=160", *options, source, f"{self.server}:{target}")

    def fetch(self, source: str, into: Path) -> Said:
        """Read `source` back from the server into the directory `into`."""
        return self._rsync(f"{self.server}:{source}", f"{into}/")

    def read(self, source: str) -> Documents:
        """Return the documents in `source` on the server, which the laptop may read."""
        with tempfile.TemporaryDirectory() as into:
            said = self.fetch(source, Path(into))
            assert said.exit == 0, said.err
            return documents_in(Path(into))

    def refused(self, source: str) -> str:
        """Return the words with which the server refuses to give `source` out; fail if anything of it came."""
        with tempfile.TemporaryDirectory() as into:
            said = self.fetch(source, Path(into))
            assert os.listdir(into) == [], f"{source}: something came"
            return said.words()

    def restore(self, source: str) -> None:
        """Put the documents in `source` on the server into the Journal, beside what is there."""
        said = self.fetch(source, self.datastore)
        assert said.exit == 0, said.err

    # What our own client asks.

    def ask(self, command: str) -> Said:
        """Ask the server to run `command` over the laptop's own login."""
        return _said([*self._ssh(), self.server, command])

    @contextmanager
    def asking(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Have a session open in which the server waits for what `command` needs to hear next."""
        pipe = subprocess.PIPE
        with subprocess.Popen([*self._ssh(), self.server, command], stdin=pipe, stdout=pipe, stderr=pipe) as session:
            try:
                yield session
            finally:
                session.kill()

    def status(self) -> dict[str, Any]:
        """Return what `xs status` says."""
        return self._answer("xs status")

    def history(self) -> dict[str, list[str]]:
        """Return {tree: stamps of its snapshots, oldest first} as `xs history` says, the laptop's own tree first."""
        said = self._answer("xs history")["trees"]
        return {tree["tree"]: [snapshot["stamp"] for snapshot in tree["snapshots"]] for tree in said}

    def page(self) -> Page:
        """Open the child's Journal page as Browse does, with a ticket."""
        ticket = self.ask("xs ticket")
        assert ticket.exit == 0, ticket.err
        status, headers, _ = self.get(urlsplit(ticket.out.strip()).path)
        assert status == 303, f"{ticket.out} answers {status}"
        return Page(self, headers["Set-Cookie"].partition(";")[0])

    def get(self, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Return status, headers and body of a page of the school server."""
        connection = http.client.HTTPConnection(self.server, 80, timeout=30, source_address=(self.address, 0))
        connection.request("GET", path, headers={"Host": SITE, **headers})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def _answer(self, command: str) -> dict[str, Any]:
        said = self.ask(command)
        assert said.exit == 0, f"{self.serial}: {command}: {said.err}"
        answer = json.loads(said.out)
        assert isinstance(answer, dict)
        return answer

    def _ssh(self) -> list[str]:
        # The old client's, but for the addresses, the offer of a DSA key, which OpenSSH 9 makes only when told to, and
        # what keeps this machine's own files out.
        return [
            "/usr/bin/ssh", "-F", "/dev/null", "-o", "PubkeyAcceptedAlgorithms=+ssh-dss", "-o", "BatchMode=yes",
            "-o", "PasswordAuthentication no", "-o", "StrictHostKeyChecking no", "-o", "IdentitiesOnly=yes",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-b", self.address,
            "-i", str(self.home / "owner.key"), "-l", self.login or self.serial,
        ]  # fmt: skip

    def _rsync(self, *arguments: str) -> Said:
        return _said([*RSYNC, "-e", shlex.join(self._ssh()), *arguments])


Laptops = Callable[..., Laptop]  # makes one more: the fixture of that name


@dataclass(frozen=True)
class Page:
    """A child's Journal page, open in a browser."""

    laptop: Laptop
    cookie: str

    def documents(self) -> dict[str, Item]:
        """Return what the page lists, by uid."""
        status, _, body = self.laptop.get("/journal/", Cookie=self.cookie)
        assert status == 200, body
        return {item.attributes["uid"]: item for item in items(body.decode(), "document")}

    def status_of(self, name: str) -> int:
        """Return the status with which the document `name` itself is shown, listed or not."""
        return self.laptop.get(f"/journal/document/{name}", Cookie=self.cookie)[0]


def new_serial() -> str:
    """Return a serial that no laptop has."""
    return f"SHC{secrets.token_hex(4).upper()}"


class _Transport(xmlrpc.client.Transport):
    """Sugar's: it gives up after eight seconds. And from a laptop's own address."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(host, timeout=SUGAR_SECONDS, source_address=(self._address, 0))


def register(server: str, address: str, *, serial: str, nick: str, uuid: str, pubkey: str) -> dict[str, str]:
    """Register from the network address `address` as Sugar does, and return the server's answer."""
    with xmlrpc.client.ServerProxy(f"http://{server}:8080/", transport=_Transport(address)) as proxy:
        answer: Any = proxy.register(serial, nick, uuid, pubkey)
    assert isinstance(answer, dict), answer
    assert answer["success"] in ("OK", "ERR"), answer
    return answer


def documents_in(datastore: Path) -> Documents:
    """Return the documents in a Journal."""
    files = {
        str(file.relative_to(datastore)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in datastore.glob("??/*/**/*")
        if file.is_file()
    }
    found: dict[str, list[str]] = {}
    for path, checksum in files.items():
        _, name, file_name = path.split("/", 2)
        found.setdefault(name, []).append(f"{checksum}  {file_name}")
    return {name: tuple(sorted(lines)) for name, lines in found.items()}


def _sent(log: str) -> Sent:
    """Return what rsync's `log` of a run says: a line "<date> <time> [<process>] <file>" for each, and a sum."""
    lines = [line.split("] ", 1)[1] for line in log.splitlines()]
    total = next(re.fullmatch(r"sent ([\d,]+) bytes .*", line) for line in lines if line.startswith("sent "))
    assert total is not None, log
    return Sent(tuple(line for line in lines if re.match(r"../", line)), int(total[1].replace(",", "")))


def _said(command: Iterable[str]) -> Said:
    done = subprocess.run(list(command), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    return Said(done.returncode, done.stdout, done.stderr)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
