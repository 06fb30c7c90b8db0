# SPDX-License-Identifier: GPL-3.0-or-later
"""The key by which the server asks a laptop to update now: an SSH key that opens nothing else there.

It lies beside the library's other keys, root's alone, without a passphrase, and moves with them. Laptops know its
public half by the package xo-school; who takes it away gets a new one at the next publication.
"""

from __future__ import annotations

from pathlib import Path

from schoolserver import durable, programs
from schoolserver.errors import Refusal

_KIND = "ssh-ed25519"


def public(at: Path) -> str:
    """Return the public half of the key file `at`, "" where there is none; raise Refusal where it is no such key."""
    if not at.exists():
        return ""
    try:
        # ssh-keygen reads no key that others could read as well.
        at.chmod(0o600)
        words = programs.run("ssh-keygen", "-y", "-P", "", "-f", at).split()
    except Refusal as error:
        raise Refusal(f"{at} is no key ({error}): remove it, and the next publication makes another") from error
    if words[:1] != [_KIND]:
        raise Refusal(f"{at} is no {_KIND} key: remove it, and the next publication makes another")
    return " ".join(words[:2])


def ensure(at: Path) -> str:
    """Return the public half of the key file `at`, which is made, and on the disk, where there was none.

    Raise Refusal or OSError.
    """
    if found := public(at):
        return found
    new = at.with_name(f".{at.name}.new")
    half = new.with_name(f"{new.name}.pub")
    for left in (new, half):
        left.unlink(missing_ok=True)  # what was cut off: ssh-keygen would ask
    programs.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "XS school server, push", "-f", new)
    half.unlink()
    durable.publish(new, at, 0o600)
    return public(at)
