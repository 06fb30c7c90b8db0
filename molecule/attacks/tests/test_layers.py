# SPDX-License-Identifier: GPL-3.0-or-later
"""A layer is taken away, and what still holds is tried: the table in docs/threat-model.md, word for word.

Two attackers each time: Eve with her key, and Eve whose program stands in rsync's place (a bug that she uses).
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

import inside
from eve import PUSH, Eve
from ground import Ground
from laptop import Laptop
from siege import HOSTILE, SECRET, hostile_rsync, no_filter

TABLE = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"], "docs/threat-model.md")
GOALS = ("reading others", "writing history", "the network", "a shell")


@dataclass(frozen=True)
class Ways:
    """Who tries, and on what."""

    server: Ground
    eve: Eve
    jim: Laptop


@contextmanager
def replaced(server: Ground, path: str, text: str, mode: str = "755") -> Iterator[None]:
    """The file at `path` on the server is another for a while."""
    other = f"{HOSTILE}.{path.rpartition('/')[2]}"
    server.run(f"printf %s {shlex.quote(text)} >{other} && chmod {mode} {other} && mount --bind {other} {path}")
    try:
        yield
    finally:
        server.run(f"umount {path} && rm {other}")


@contextmanager
def nothing(_: Ways) -> Iterator[None]:
    """Every layer stands."""
    yield


@contextmanager
def plain_key_line(ways: Ways) -> Iterator[None]:
    """Her key line says neither restrict nor command."""
    file = f"/etc/xs/keys/{ways.eve.uid}"
    ways.server.run(f'cp -p {file} {file}.kept && sed -i \'s/^restrict,command="[^"]*" //\' {file}')
    try:
        yield
    finally:
        ways.server.run(f"mv {file}.kept {file}")


@contextmanager
def plain_sshd(ways: Ways) -> Iterator[None]:
    """sshd forbids learners nothing: only where their keys lie is said."""
    file = "/etc/ssh/sshd_config.d/xs.conf"
    text = "Match Group xs-learners\\n AuthorizedKeysFile /etc/xs/keys/%%U\\n"
    ways.server.run(f"cp -p {file} {HOSTILE}.sshd && printf '{text}' >{file} && systemctl reload ssh")
    try:
        yield
    finally:
        ways.server.run(f"cp -p {HOSTILE}.sshd {file} && rm {HOSTILE}.sshd && systemctl reload ssh")


LOOSE = """

_strict = parse


def parse(command):
    try:
        return _strict(command)
    except Refusal:
        words = command.split(" ")
        if words[:3] == ["rsync", "--server", "--sender"]:
            return Pull(words[-1], tuple(words[3:-2]), "")
        return Push(words[-1], tuple(words[2:-2]), "")
"""


@contextmanager
def no_grammar(ways: Ways) -> Iterator[None]:
    """The gate takes any words for rsync's, and any path."""
    path = "/usr/lib/python3/dist-packages/schoolserver/grammar.py"
    text = ways.server.run(f"cat {path}") + LOOSE
    with replaced(ways.server, path, text, "644"):
        yield


NO_JAIL = """#!/usr/bin/python3 -IS
import os, sys
words = sys.argv[sys.argv.index("--") + 1 :]
binds = [n for n, word in enumerate(sys.argv) if word in ("--bind", "--ro-bind")]
source, place = sys.argv[binds[-1] + 1 : binds[-1] + 3]
words[-1] = source + words[-1][len(place) - 1 :]
os.chdir("/")
os.execv(words[0], words)
"""


@contextmanager
def no_jail(ways: Ways) -> Iterator[None]:
    """bubblewrap starts what it is told to, and puts up no wall."""
    with replaced(ways.server, "/usr/bin/bwrap", NO_JAIL):
        yield


def no_system_call_filter(ways: Ways) -> AbstractContextManager[None]:
    """The jail lets every system call through."""
    return no_filter(ways.server)


@contextmanager
def no_ownership(ways: Ways) -> Iterator[None]:
    """Jim's tree has Eve's group: the file system lets her uid look."""
    theirs = ways.server.uid_of(ways.jim.serial)
    tree = f"/library/users/{ways.jim.serial}"
    ways.server.run(f"chgrp {ways.eve.uid} {tree}")
    try:
        yield
    finally:
        ways.server.run(f"chgrp {theirs} {tree}")


@contextmanager
def no_mount_flags(ways: Ways) -> Iterator[None]:
    """The library takes programs, set-uid files and devices."""
    ways.server.run("mount -o remount,suid,dev,exec /library")
    try:
        yield
    finally:
        ways.server.run("mount -o remount,nosuid,nodev,noexec /library")


@contextmanager
def no_firewall(ways: Ways) -> Iterator[None]:
    """No packet is judged."""
    ways.server.run("nft flush ruleset")
    try:
        yield
    finally:
        ways.server.run("systemctl restart schoolserver-firewall.service && nft list table inet xs >/dev/null")


LAYERS: dict[str, Callable[[Ways], AbstractContextManager[None]]] = {
    "none": nothing,
    "the key line's `restrict,command`": plain_key_line,
    "sshd's rules for laptops": plain_sshd,
    "the gate's grammar": no_grammar,
    "the jail": no_jail,
    "the filter of system calls": no_system_call_filter,
    "file ownership": no_ownership,
    "mount flags": no_mount_flags,
    "nftables": no_firewall,
}


def with_her_key(ways: Ways) -> dict[str, bool]:
    """Return what Eve cannot do with her key and the honest programs of the server."""
    server, eve, jim = ways.server, ways.eve, ways.jim
    stamp = server.stamps(jim.serial)[-1]
    stamps = server.stamps(eve.laptop.serial)
    before = server.history(eve.laptop.serial, stamps)
    heard = b""
    for path in (f"/library/users/{jim.serial}/datastore/{stamp}/", f"../{jim.serial}/datastore/{stamp}",
                 f"trees/{jim.serial}/datastore/{stamp}/", f"../{jim.serial}/datastore-latest"):  # fmt: skip
        said = eve.laptop.fetch(path, eve.laptop.home / "stolen")
        heard += said.out.encode()
    stolen = eve.laptop.home / "stolen"
    heard += b"".join(file.read_bytes() for file in stolen.rglob("*") if file.is_file()) if stolen.exists() else b""
    for words, path in (
        ((), f"datastore/{stamps[0]}"), (("--inplace",), f"datastore/{stamps[0]}"), (("--delete",), "datastore"),
        (("--append",), f"keepsakes/{eve.kept}/{stamps[0]}"),
    ):  # fmt: skip
        eve.laptop._rsync(*words, "--timeout=5", f"{eve.laptop.datastore}/", f"{eve.laptop.server}:{path}")
    shells = b""
    for command in ("id", "sh -c id", "bash -c id", f"gate {jim.serial}", ""):
        shells += eve.say(command).out
    return {
        "reading others": SECRET.encode() not in heard,
        "writing history": before <= server.history(eve.laptop.serial, stamps),
        "the network": not reaches(eve),
        "a shell": b"uid=" not in shells and not has_terminal(eve),
    }


def reaches(eve: Eve) -> bool:
    """Return whether ssh carries Eve's connections on."""
    try:
        with eve.login() as wire:
            wire.open_channel("direct-tcpip", ("127.0.0.1", 22), ("127.0.0.1", 1), timeout=20).close()
    except (paramiko.SSHException, EOFError):
        return False
    return True


def has_terminal(eve: Eve) -> bool:
    """Return whether Eve gets a terminal."""
    try:
        with eve.login() as wire:
            wire.open_session(timeout=20).get_pty()
    except (paramiko.SSHException, EOFError):
        return False
    return True


TRIES = """
said = {}
said["reading others"] = attempt(lambda: [read(f"{JIM}/datastore-latest/{name}") for name in NAMES])[:4] == "done"
for how in (lambda: write(FILE), lambda: os.unlink(FILE), lambda: os.chmod(SNAP, 0),
            lambda: os.rename(SNAP, SNAP + "x"), lambda: write(KEPT), lambda: os.unlink(KEPT),
            lambda: fcntl.ioctl(os.open(SNAP, os.O_RDONLY), 0x4008941A, bytearray(struct.pack("Q", 0)))):
    attempt(how)
said["the network"] = any(attempt(lambda: connect(socket.AF_INET, (host, port)))[:4] == "done"
                          for host, port in (("127.0.0.1", 22), ("127.0.0.1", 8080), (ADDRESS, 80), (OTHER, 22)))
said["a shell"] = attempt(lambda: run("/bin/sh", "-c", "cat /etc/passwd && ls /proc/1"))[:4] == "done"
print(json.dumps(said))
"""


def with_an_owned_rsync(ways: Ways) -> dict[str, bool]:
    """Return what Eve cannot do from rsync's place. `a shell` is any program that sees more than the jail."""
    server, eve, jim = ways.server, ways.eve, ways.jim
    top, stamps = f"/library/users/{eve.laptop.serial}", server.stamps(eve.laptop.serial)
    before = server.history(eve.laptop.serial, stamps)
    theirs = f"/library/users/{jim.serial}"
    names = {
        "OWN": f"{top}/documents", "JIM": theirs, "ADDRESS": server.address, "SNAP": f"{top}/datastore/{stamps[0]}",
        "OTHER": str(eve.laptop.server).rpartition(".")[0] + ".1", "NAMES": ["version"],
        "FILE": server.run(f"find {top}/datastore/{stamps[0]} -name data | head -1").strip(),
        "KEPT": server.run(f"find {top}/keepsakes -name data | head -1").strip(),
    }  # fmt: skip
    script = "".join(f"{name} = {value!r}\n" for name, value in names.items()) + inside.START + TRIES
    with hostile_rsync(server):
        said = eve.owned(script, PUSH.replace("datastore-current", "documents"))
    if said.exit == 126 and not said.out:
        return dict.fromkeys(GOALS, True)  # the gate does not start it
    assert said.exit == 0, said
    did = json.loads(said.out)
    did["writing history"] = not before <= server.history(eve.laptop.serial, stamps)
    return {goal: not did[goal] for goal in GOALS}


def claims() -> dict[tuple[str, str], dict[str, bool]]:
    """Return what the threat model says: {(layer, attacker): {goal: whether it still holds}}."""
    found = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 6 and cells[1] in ATTACKERS:
            assert all(cell.startswith(("holds", "falls")) for cell in cells[2:]), line
            found[cells[0].strip(), cells[1]] = dict(
                zip(GOALS, (cell.startswith("holds") for cell in cells[2:]), strict=True)
            )
    return found


ATTACKERS = {"her key": with_her_key, "an owned rsync": with_an_owned_rsync}


def test_the_threat_model_has_a_row_for_each_layer_and_attacker() -> None:
    assert set(claims()) == {(layer, attacker) for layer in LAYERS for attacker in ATTACKERS}


@pytest.mark.parametrize("attacker", ATTACKERS)
@pytest.mark.parametrize("layer", LAYERS)
def test_without_a_layer_what_the_threat_model_says_still_holds(
    server: Ground, eve: Eve, jim: Laptop, layer: str, attacker: str
) -> None:
    ways = Ways(server, eve, jim)
    eve.hang_up()
    with ExitStack() as without:
        without.enter_context(LAYERS[layer](ways))
        try:
            found = ATTACKERS[attacker](ways)
        finally:
            eve.hang_up()
    assert found == claims()[layer, attacker]
