# SPDX-License-Identifier: GPL-3.0-or-later
"""The technician: a clone of the project that begins at the first released version, and what is typed in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lab import places

LAB = "updates"
CLONE = places.lab(LAB) / "clone"
INVENTORY = places.inventory(LAB).parent


def clone_first_release() -> str:
    """Clone the project as it was at its first release; return that version.

    A clone without tags has the commit all the same: `make release` makes both.
    """
    git(places.PROJECT, "clone", "--quiet", places.PROJECT, CLONE)
    tags = git(CLONE, "tag", "--list", "v*", "--sort=version:refname").split()
    released = tags or git(CLONE, "log", "--reverse", "--format=%H", "--grep=^Release [0-9]").split()
    assert released, "no release in this clone: a shallow one has no history, `git fetch --unshallow --tags` brings it"
    git(CLONE, "reset", "--quiet", "--hard", released[0])
    version = _version_line().partition('"')[2].rstrip('"')
    git(CLONE, "tag", "--force", f"v{version}")
    # What the two checkouts need of Python is in the project's own .venv.
    (CLONE / ".venv").symlink_to(places.VENV)
    return version


def pull() -> None:
    """Bring the clone to the version that is tested, with a client that is newer than the release's.

    On the very commit of a release there is nothing newer yet: then one is committed here.
    """
    released = git(CLONE, "rev-parse", "HEAD").strip()
    git(CLONE, "pull", "--quiet", "--ff-only", "origin", "HEAD")
    if git(CLONE, "diff", "--name-only", released, "HEAD", "--", "files/xo-client"):
        return
    file = CLONE / "files/xo-client/src/xo_client/__init__.py"
    file.write_text(_client().replace(_version_line(), '__version__ = "90.0"'), encoding="utf-8")
    who = ("-c", "user.name=A technician", "-c", "user.email=technician@schoolserver.invalid")
    git(CLONE, *who, "commit", "--quiet", "--all", "--message=A client that is newer than the release's")


def play(playbook: str, *options: str, ends: int = 0) -> str:
    """Run `playbook` of the clone, and return what it said; it must end with the exit code `ends`."""
    done = subprocess.run(
        ["ansible-playbook", f"--inventory={INVENTORY}", *options, f"playbooks/{playbook}.yml"],
        env={**environment(), "XS_SCHOOL": str(INVENTORY)},
        cwd=CLONE, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == ends, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def push(*options: str, ends: int = 0) -> dict[str, str]:
    """Push to all laptops; return the line of each in the table, by its login name."""
    return table(play("update_laptops", "--inventory=inventory/laptops.py", *options, ends=ends))


def table(said: str) -> dict[str, str]:
    """Return the lines of the table in what update_laptops.yml `said`, by login name."""
    lines = said[said.index("why, what to do") :].partition("\n\n")[0]
    return {line.split()[0]: line for line in lines.splitlines() if line.split()[0].startswith("XOL")}


def build(version: str, out: Path, *changes: tuple[str, str, str]) -> list[Path]:
    """Build the client of the clone as `version`, with `changes`: each a file, a text in it, and what replaces it."""
    source = out / "files"
    subprocess.run(["cp", "-R", CLONE / "files", source], check=True)
    mark = ("xo-client/src/xo_client/__init__.py", _version_line(), f'__version__ = "{version}"')
    for file, old, new in (mark, *changes):
        text = (source / file).read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r}"
        (source / file).write_text(text.replace(old, new), encoding="utf-8")
    made = subprocess.run([source / "build-package", "xo-client", out], capture_output=True, text=True, check=True)
    return [Path(line) for line in made.stdout.split()]


def copy(source: str | Path, target: str | Path, *, recursive: bool = False) -> None:
    """Copy a file of this machine or of a host (`<name>:<path>`) to another one."""
    command = ["scp", "-q", "-3", "-F", places.ssh_config(LAB), *(["-r"] if recursive else []), source, target]
    subprocess.run(command, check=True)


def environment() -> dict[str, str]:
    """Return a technician's environment: nothing of molecule's, and the project's .venv."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_", "XS_"))}
    return {**kept, "PATH": f"{places.VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def git(where: Path, *words: str | Path) -> str:
    """Run git in `where`, also where the clone is another user's; return what it printed."""
    command = ["git", "-c", "safe.directory=*", "-C", where, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _client() -> str:
    return (CLONE / "files/xo-client/src/xo_client/__init__.py").read_text(encoding="utf-8")


def _version_line() -> str:
    return next(line for line in _client().splitlines() if line.startswith("__version__"))
