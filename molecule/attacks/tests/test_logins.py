# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways into sshd that are not Eve's own: other names, other proofs, other keys. Each name says what it would gain."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import paramiko
import pytest

from eve import Eve, Wire
from ground import Ground
from laptop import Laptop, register

NO_KEY = r"(Connection closed|Disconnected|Connection reset|Failed|Invalid user|maximum authentication).*"


def shut_out(eve: Eve, server: Ground, way: Callable[[Wire], object], name: str) -> None:
    """Fail unless `way` of logging in as `name` is refused, with `name` in sshd's log."""
    server.mark()
    with eve.wire() as wire:
        with pytest.raises((paramiko.SSHException, EOFError, OSError)):
            way(wire)
        assert not wire.is_authenticated()
    server.told(f"{NO_KEY}{name}", of="sshd")


WAYS: dict[str, Callable[[Wire, str], object]] = {
    "none: his session without any proof": lambda wire, name: wire.auth_none(name),
    "an empty password: his session": lambda wire, name: wire.auth_password(name, "", fallback=False),
    "his serial as password: his session": lambda wire, name: wire.auth_password(name, name, fallback=False),
    "the star of the password file: his session": lambda wire, name: wire.auth_password(name, "*", fallback=False),
    "a question and answer: his session": lambda wire, name: wire.auth_interactive(
        name, lambda _title, _words, asked: ["" for _ in asked]
    ),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_jims_login_opens_to_his_key_only(
    eve: Eve, jim: Laptop, server: Ground, way: Callable[[Wire, str], object]
) -> None:
    shut_out(eve, server, lambda wire: way(wire, jim.serial), jim.serial)
    with eve.wire() as wire, pytest.raises(paramiko.BadAuthenticationType) as refused:
        wire.auth_none(jim.serial)
    assert refused.value.allowed_types == ["publickey"]


SYSTEM = ["root", "daemon", "sync", "www-data", "nobody", "backup", "sshd", "messagebus", "xs-journal", "xs-permission",
          "xs-registration"]  # fmt: skip


@pytest.mark.parametrize("name", SYSTEM, ids=[f"{name}: a session outside the gate" for name in SYSTEM])
def test_her_key_opens_no_login_of_the_system(eve: Eve, server: Ground, name: str) -> None:
    shut_out(eve, server, lambda wire: wire.auth_publickey(name, eve.key), name)


def test_her_key_does_not_open_jims_login_for_his_documents(eve: Eve, jim: Laptop, server: Ground) -> None:
    shut_out(eve, server, lambda wire: wire.auth_publickey(jim.serial, eve.key), jim.serial)


NAMES = {
    "an option: a word on a command line": "-oProxyCommand=id",
    "a path up to Jim: his key file and tree": "{eve}/../{jim}",
    "a path: the key file of root": "../../../root",
    "two names: the second one's session": "{eve} {jim}",
    "a newline: a second line in the log": "{eve}\n{jim}",
    "a comma: a list of names": "{eve},{jim}",
    "a pattern: any login": "SHC*",
    "a pattern of sshd's: any login but one": "!{eve}",
    "%U: a key file of her choice": "%U",
    "a further tree: another key's tree": "{jim}.2",
    "small letters: a login that does not care": "{jim_small}",
    "Jim's uid: a login by number": "{jim_uid}",
    "@: another host's name": "{jim}@schoolserver",
    "an empty name: the first login": "",
    "1,000 signs: a buffer": "x" * 1000,
    "a colon before Jim: a style that names a user": "root:{jim}",
    "Jim with a style: his session by a name that filters do not know": "{jim}:{eve}",
    "shell signs: a command where names are logged": "$(id)",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_strange_login_name_opens_nothing(eve: Eve, jim: Laptop, server: Ground, name: str) -> None:
    full = name.format(
        eve=eve.laptop.serial, jim=jim.serial, jim_small=jim.serial.lower(), jim_uid=server.uid_of(jim.serial)
    )
    with eve.wire() as wire:
        with pytest.raises((paramiko.SSHException, EOFError)):
            wire.auth_publickey(full, eve.key)
        assert not wire.is_authenticated()


class Borrowed(paramiko.Ed25519Key):
    """Jim's public key, as anybody can read it on the network, with Eve's signature."""

    public = b""

    def asbytes(self) -> bytes:
        """Return the public key that is claimed."""
        return self.public


def test_jims_public_key_with_her_signature_does_not_open_his_login(eve: Eve, jim: Laptop, server: Ground) -> None:
    key = Borrowed.from_private_key_file(str(eve.laptop.home / "owner.key"))
    key.public = paramiko.Ed25519Key.from_private_key_file(str(jim.home / "owner.key")).asbytes()
    shut_out(eve, server, lambda wire: wire.auth_publickey(jim.serial, key), jim.serial)


def ssh(eve: Eve, *options: str, name: str, key: Path) -> subprocess.CompletedProcess[str]:
    """What the real client says when it logs in as `name`."""
    return subprocess.run(
        ["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "IdentitiesOnly=yes",
         "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", *options, "-i", key, "-l", name,
         eve.laptop.server, "xs status"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip


def test_a_certificate_of_her_own_authority_does_not_open_jims_login(eve: Eve, jim: Laptop, tmp_path: Path) -> None:
    for name in ("ca", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    sign = ["ssh-keygen", "-q", "-s", f"{tmp_path}/ca", "-I", "jim", "-n", f"{jim.serial},root", f"{tmp_path}/key.pub"]
    subprocess.run(sign, check=True)
    for name in (jim.serial, "root"):
        done = ssh(eve, "-o", f"CertificateFile={tmp_path}/key-cert.pub", name=name, key=tmp_path / "key")
        assert (done.returncode, done.stdout) == (255, "")
        assert "Permission denied (publickey" in done.stderr


def test_her_host_does_not_vouch_for_jim(eve: Eve, jim: Laptop) -> None:
    options = (
        "-o",
        "HostbasedAuthentication=yes",
        "-o",
        "PreferredAuthentications=hostbased",
        "-o",
        "EnableSSHKeysign=yes",
    )
    done = ssh(eve, *options, name=jim.serial, key=eve.laptop.home / "owner.key")
    assert (done.returncode, done.stdout) == (255, "")
    assert "Permission denied (publickey)" in done.stderr


@pytest.mark.parametrize(
    "name", [".ssh/authorized_keys", ".ssh/authorized_keys2", ".ssh/rc", ".ssh/environment", ".rhosts", ".shosts",
             ".bashrc", ".profile", ".pam_environment", ".k5login", ".forward", ".hushlogin"],
)  # fmt: skip
def test_a_file_that_logins_read_at_home_is_none_in_the_tree(
    eve: Eve, server: Ground, tmp_path: Path, name: str
) -> None:
    """A key line without the gate, a program at login, an environment: wherever she can write, it is not home."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    text = (tmp_path / "key.pub").read_text() if "keys" in name else "PATH=/x\ntouch /tmp/xs-was-here\n"
    for top in ("datastore-current", "documents", "power-logs"):
        source = tmp_path / top
        (source / name).parent.mkdir(parents=True)
        (source / name).write_text(text)
        assert eve.laptop.push(f"{source}/", top).exit == 0
    assert ssh(eve, name=eve.laptop.serial, key=tmp_path / "key").stderr.count("Permission denied (publickey)") == 1
    assert eve.say("xs status").exit == 0
    home = server.run(f"getent passwd {eve.laptop.serial}").split(":")[5]
    assert server.run(f"cd {home} && ls -d {name} 2>/dev/null; ls /tmp/xs-was-here 2>/dev/null; true") == ""
    said = server.attempt(eve.uid, WRITES_HOME, HOME=home)
    assert said == {"file": "Permission denied", "directory": "Permission denied"}


WRITES_HOME = """
import os
def attempt(what):
    try:
        what()
    except OSError as error:
        return error.strerror
    return "done"
said = {"file": attempt(lambda: open(HOME + "/.pam_environment", "w"))}
said["directory"] = attempt(lambda: os.mkdir(HOME + "/.ssh"))
"""


def test_registering_under_jims_serial_gives_her_key_nothing_of_his(eve: Eve, jim: Laptop, server: Ground) -> None:
    before = server.account(jim.serial)
    answer = register(
        eve.laptop.server, eve.laptop.address, serial=jim.serial, nick="Eve", uuid=jim.uuid, pubkey=eve.laptop.pubkey
    )
    assert answer.get("backupurl", "").startswith(f"{eve.laptop.serial}@")
    assert server.account(jim.serial) == before
    shut_out(eve, server, lambda wire: wire.auth_publickey(jim.serial, eve.key), jim.serial)
