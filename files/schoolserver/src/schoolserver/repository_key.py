# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that sign what laptops install.

Each is a file in a directory that is root's alone, named by the time when it was made, armoured, without a passphrase:
it is replaced whole or not at all, and moves to another machine with the library. gpg works on copies in memory (/run),
for as long as something is signed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from schoolserver import durable, programs, stamps
from schoolserver.errors import Refusal

# A server whose clock was ahead when it made the key must still be able to sign.
_GPG = ("gpg", "--batch", "--no-tty", "--quiet", "--ignore-time-conflict")
_ENDING = ".key"


@dataclass(frozen=True)
class Ring:
    """The keys, in gpg's hands. Every method raises Refusal where gpg fails."""

    home: Path
    names: tuple[str, ...]  # oldest first

    def gpg(self, *words: str | Path) -> str:
        """Run gpg on the keys; return what it printed."""
        return programs.run(*_GPG, "--homedir", self.home, "--pinentry-mode", "loopback", "--passphrase", "", *words)

    def fingerprints(self) -> list[str]:
        """Return the fingerprint of each key."""
        return fingerprints(self.gpg("--with-colons", "--list-secret-keys"))

    def fingerprints_in(self, file: Path) -> list[str]:
        """Return the fingerprint of each key that is in `file`."""
        return fingerprints(self.gpg("--with-colons", "--show-keys", file))

    def sign(self, file: Path, signed: Path, how: str) -> None:
        """Write to `signed` what every key says to `file`: `how` is detach-sign or clear-sign."""
        users = [word for one in self.fingerprints() for word in ("--local-user", f"{one}!")]
        self.gpg("--armor", "--digest-algo", "SHA512", *users, "--output", signed, f"--{how}", file)

    def export(self, file: Path, *, armoured: bool) -> None:
        """Write the public keys to `file`."""
        self.gpg(*(["--armor"] if armoured else []), "--output", file, "--export")


def names(at: Path) -> tuple[str, ...]:
    """Return the name of each key in the directory `at`, oldest first; raise OSError."""
    if not at.is_dir():
        return ()
    found = (file.name.removesuffix(_ENDING) for file in at.iterdir() if file.name.endswith(_ENDING))
    return tuple(sorted(name for name in found if stamps.is_stamp(name)))


def make(at: Path, workshop: Path, now: datetime) -> str:
    """Make one more key in `at`, on the disk when its name is returned; raise Refusal or OSError."""
    at.mkdir(mode=0o700, exist_ok=True)
    at.chmod(0o700)
    existing = names(at)
    name = stamps.next_stamp(now, existing[-1] if existing else None)
    with _at_work(workshop, ()) as ring:
        ring.gpg("--quick-generate-key", f"XS school server, key of {name}", "ed25519", "sign", "never")
        secret = ring.gpg("--armor", "--export-secret-keys")
    if "PRIVATE KEY" not in secret:
        raise Refusal("gpg made no key: see whether gpg-agent is installed")
    durable.replace(at / f"{name}{_ENDING}", secret, 0o600)
    durable.sync_directory(at.parent)
    return name


def drop(at: Path, gone: Sequence[str]) -> None:
    """Delete the keys named `gone` for ever; raise OSError."""
    for name in gone:
        (at / f"{name}{_ENDING}").unlink()
    durable.sync_directory(at)


@contextmanager
def ring(at: Path, chosen: Sequence[str], workshop: Path) -> Iterator[Ring]:
    """Give the keys of `at` that are `chosen` to gpg in the directory `workshop`, which is gone afterwards.

    Raise Refusal or OSError.
    """
    with _at_work(workshop, tuple(chosen)) as made:
        for name in made.names:
            made.gpg("--import", at / f"{name}{_ENDING}")
        if len(made.fingerprints()) != len(made.names):
            raise Refusal(f"{at} holds a file that is no key: put one from a backup in its place")
        yield made


def signers(keyring: Path, *signed: Path) -> list[str]:
    """Return the fingerprint of each of the public keys in `keyring` that signed; raise Refusal where one did not.

    `signed` is a clear-signed file, or a signature and the file that it is of. Asks gpgv, as apt does.
    """
    told = programs.run("gpgv", "--ignore-time-conflict", "--status-fd", "1", "--keyring", keyring, *signed)
    lines = (line.split() for line in told.splitlines())
    return sorted(words[2] for words in lines if words[:2] == ["[GNUPG:]", "VALIDSIG"])


def fingerprints(listed: str) -> list[str]:
    """Return the fingerprints of the primary keys in what `gpg --with-colons` printed, in order."""
    found, wanted = [], False
    for line in listed.splitlines():
        words = line.split(":")
        if words[0] in {"sec", "pub"}:
            wanted = True
        elif words[0] == "fpr" and wanted:  # codespell:ignore
            found.append(words[9])
            wanted = False
    return sorted(found)


def readable(fingerprint: str) -> str:
    """Return `fingerprint` in groups of four, as people compare it."""
    return " ".join(fingerprint[at : at + 4] for at in range(0, len(fingerprint), 4))


@contextmanager
def _at_work(workshop: Path, of: tuple[str, ...]) -> Iterator[Ring]:
    _leave(workshop)  # what was cut off
    os.mkdir(workshop, 0o700)
    try:
        yield Ring(workshop, of)
    finally:
        _leave(workshop)


def _leave(workshop: Path) -> None:
    if workshop.exists():
        # Its agent holds the keys in memory.
        programs.run("gpgconf", "--homedir", workshop, "--kill", "gpg-agent")
        with suppress(Refusal):  # where it has one of its own
            programs.run("gpgconf", "--homedir", workshop, "--remove-socketdir")
        shutil.rmtree(workshop, ignore_errors=True)
