# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's side for the client's tests: trees on this disk, and in ssh's place a program with the gate's grammar.

Everything that the client asks goes through the real grammar and the real rsync; only the jail and the network are not
there. The connection can be cut off after a number of bytes.
"""

from __future__ import annotations

import json
import os
import random
import sys
import uuid
from pathlib import Path

import schoolserver
from xo_client import rsync

OWN, OTHER = "ABC12345678", "SHC00000001"
STAMP, LATER = "2026-11-20T101500Z", "2026-11-23T101500Z"

_SSH = """#!{python}
import os, subprocess, sys
sys.path.insert(0, {package!r})
from schoolserver import grammar
words = sys.argv[1:]
while words[0].startswith("-"):
    words = words[2:]
asked = grammar.parse(" ".join(words[1:]))
school = {school!r}
if isinstance(asked, grammar.Xs):
    print(open(os.path.join(school, asked.verb + ".json")).read())
    sys.exit()
os.chdir(os.path.join(school, getattr(asked, "tree", "") or {own!r}))
if isinstance(asked, grammar.Flag):
    command = ["rsync", "--server", *asked.words, ".", "flag"]
elif isinstance(asked, grammar.Push):
    command = ["rsync", "--server", *asked.words, ".", asked.destination + asked.slash]
else:
    # A learner's rsync cannot read everything, and root's can: take that from it.
    held = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    command = [*held, "rsync", "--server", "--sender", *asked.words, ".", asked.source + asked.slash]
limit = os.path.join(school, "cut-off")
if not os.path.exists(limit):
    os.execvp(command[0], command)
rest = int(open(limit).read())
# What counts is what the laptop waits for: what it reads of a snapshot, what it sends of the Journal.
pull = isinstance(asked, grammar.Pull)
rsync = subprocess.Popen(command, **({{"stdout": -1}} if pull else {{"stdin": -1}}))
source, sink = (rsync.stdout.fileno(), 1) if pull else (0, rsync.stdin.fileno())
while rest > 0:
    block = os.read(source, min(rest, 4096))
    if not block:
        os.close(sink)
        sys.exit(rsync.wait())
    rest -= os.write(sink, block)
rsync.kill()
sys.exit(255)
"""


class School:
    """A server that keeps trees below a directory."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.incoming = top / OWN / "datastore-current"
        self.incoming.mkdir(parents=True)
        self.bin = top / "bin"
        self.bin.mkdir(parents=True)
        ssh = self.bin / "ssh"
        package = str(Path(schoolserver.__file__).parent.parent)
        ssh.write_text(_SSH.format(python=sys.executable, package=package, school=str(top), own=OWN))
        ssh.chmod(0o755)
        self.remote = rsync.Remote([str(ssh), "school"])
        self.history: dict[str, object] = {"protocol": 1, "trees": []}

    def snapshot(self, stamp: str = STAMP, tree: str = OWN, *, best: bool = True) -> Path:
        """Make an empty snapshot, as layout 6 has it, and list it in the history."""
        made = self.top / tree / "datastore" / stamp
        made.mkdir(parents=True)
        (made / "version").write_text("6")
        (made / "index").mkdir()
        (made / "index" / "flintlock").write_text("")
        trees = self.history["trees"]
        assert isinstance(trees, list)
        found = next((one for one in trees if one["tree"] == tree), None)
        if not found:
            found = {"tree": tree, "snapshots": [], "best": None, "why": ""}
            trees.append(found)
        found["snapshots"].append({"stamp": stamp, "pinned": False, "documents": None, "bytes": None})
        if best:
            found["best"] = stamp
        (self.top / "history.json").write_text(json.dumps(self.history))
        (self.top / "status.json").write_text(json.dumps({"protocol": 1, "approval": "none"}))
        return made

    def cut_off_after(self, size: int | None) -> None:
        """Let each connection break off after `size` bytes; None: let them live."""
        limit = self.top / "cut-off"
        if size is None:
            limit.unlink(missing_ok=True)
        else:
            limit.write_text(str(size))


def uid_of(number: int) -> str:
    """Return the same uid for the same number."""
    return str(uuid.UUID(int=random.Random(number).getrandbits(128), version=4))


def write(
    datastore: Path,
    uid: str,
    *,
    title: str = "A drawing",
    data: bytes | None = b"drawn",
    when: int = 1_700_000_000,
    **properties: str | bytes,
) -> Path:
    """Write a document as Sugar does, and return its directory."""
    entry = datastore / uid[:2] / uid
    (entry / "metadata").mkdir(parents=True, exist_ok=True)
    said: dict[str, str | bytes] = {
        "uid": uid, "title": title, "timestamp": str(when), "creation_time": str(when), "activity": "org.laptop.Paint",
        "mime_type": "image/png", "preview": b"\x89PNG\r\n\x1a\n", "filesize": str(len(data or b"")), **properties,
    }  # fmt: skip
    for key, value in said.items():
        (entry / "metadata" / key).write_bytes(value.encode() if isinstance(value, str) else value)
    if data is not None:
        (entry / "data").write_bytes(data)
    for file in (*(entry / "metadata").iterdir(), *([entry / "data"] if data is not None else [])):
        os.utime(file, (when, when))
    return entry


def look(top: Path) -> dict[str, tuple[str, bytes]]:
    """Return all that is below `top`: kind and content by path; caches of Sugar left out."""
    found = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if name.split("/", maxsplit=1)[0] in ("index", "checksums", "index_updated", "ds_clean"):
            continue
        if path.is_symlink():
            found[name] = ("link", os.fsencode(os.readlink(path)))
        elif path.is_file():
            found[name] = ("file", path.read_bytes())
        else:
            found[name] = ("directory" if path.is_dir() else "other", b"")
    return found
