# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place that starts apt and dpkg. What they are for is `update.py`'s to say.

apt works with lists and a cache of its own here: the laptop's other sources are not asked, nothing comes from them, and
another program that is installing something just then is not in the way.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from typing import Mapping, NamedTuple, Sequence

SOURCE = Path("/etc/apt/sources.list.d/xo-school.sources")
LISTS = Path("/var/lib/xo-client/lists")
CACHE = Path("/var/cache/xo-client")
_GPGV = "/usr/bin/gpgv"
_ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_SUSPEND": "1",
}
_INSTALL = ("install", "--yes", "--only-upgrade", "--no-remove", "--reinstall", "--no-install-recommends")
_UPDATE_SECONDS = 300.0
_INSTALL_SECONDS = 900.0
_LOCAL_SECONDS = 120.0
_LONGEST = 1_000_000  # bytes of what they say that are looked at
OPTIONS = {
    "Dir::Etc::sourcelist": str(SOURCE),
    "Dir::Etc::sourceparts": "-",
    "Dir::Etc::preferences": "-",
    "Dir::Etc::preferencesparts": "-",
    "Dir::State::lists": str(LISTS),
    "Dir::Cache": str(CACHE),
    # What a technician once allowed for another source does not hold for this one.
    "Acquire::AllowInsecureRepositories": "false",
    "Acquire::AllowWeakRepositories": "false",
    "Acquire::AllowDowngradeToInsecureRepositories": "false",
    "APT::Get::AllowUnauthenticated": "false",
    # Old laptops wake up in 1970, and an attacker gains nothing by it: apt takes no list that is older than the one it
    # has, whatever the clock says, and we no older version. Debian 13's sqv insists on a clock, gpgv does not.
    "Acquire::Check-Date": "false",
    "Acquire::gpgv::Options::": "--ignore-time-conflict",
    "APT::Update::Error-Mode": "any",  # else a list that did not come is a warning
    "Acquire::Retries": "2",
    "Acquire::http::Timeout": "30",
    "Acquire::http::Proxy": "DIRECT",  # the school server is in this network
    "Dpkg::Use-Pty": "false",
    "DPkg::Lock::Timeout": "180",
    "Dpkg::Options::": "--force-confold",
}


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    out: str
    err: str  # and what it said on standard output, where it failed

    @property
    def well(self) -> bool:
        """Whether it did what it was started for."""
        return self.code == 0


def run(command: Sequence[str], seconds: float, environment: Mapping[str, str] = _ENVIRONMENT) -> Ended:
    """Run `command` for at most `seconds`, then end it and all that it started; raise OSError where it is not there."""
    # In memory: a full disk is what they may have to tell of. Files and no pipes: what they start may never close one.
    with os.fdopen(os.memfd_create("out"), "w+b") as out, os.fdopen(os.memfd_create("err"), "w+b") as err:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=dict(environment), cwd="/",
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read(_LONGEST).decode("utf-8", "replace"))
    late = f"\n{command[0]} did not end in {seconds:.0f} s" if code == -signal.SIGKILL else ""
    return Ended(code, said[0], said[1] + (said[0] if code else "") + late)


def _apt(program: str, *words: str, seconds: float) -> Ended:
    gpgv = {"APT::Key::GPGVCommand": _GPGV} if os.path.exists(_GPGV) else {}
    options = [word for name, value in {**OPTIONS, **gpgv}.items() for word in ("-o", f"{name}={value}")]
    return run([program, "-q", *options, *words], seconds)


def is_here() -> bool:
    """Say whether this is a laptop with apt."""
    return shutil.which("apt-get", path=_ENVIRONMENT["PATH"]) is not None


def refresh() -> Ended:
    """Get the school's lists, and check who signed them."""
    for folder in (LISTS, CACHE / "archives"):
        (folder / "partial").mkdir(mode=0o755, parents=True, exist_ok=True)
    return _apt("apt-get", "update", seconds=_UPDATE_SECONDS)


def offered(package: str) -> list[str]:
    """Return the versions of `package` that the school's lists have."""
    ended = _apt("apt-cache", "madison", package, seconds=_LOCAL_SECONDS)
    rows = [[word.strip() for word in line.split("|")] for line in ended.out.splitlines()]
    return [row[1] for row in rows if len(row) == 3 and row[0] == package]


def download(package: str, version: str) -> Ended:
    """Get what install() then installs, and look at its sum."""
    take_in()
    return _apt("apt-get", *_INSTALL, "--download-only", f"{package}={version}", seconds=_INSTALL_SECONDS)


def install(package: str, version: str) -> Ended:
    """Install this version of an installed package, and nothing else."""
    take_in()
    return _apt("apt-get", *_INSTALL, f"{package}={version}", seconds=_INSTALL_SECONDS)


def take_in(root: Path = Path("/")) -> None:
    """Let dpkg take in what it had noted when the power went: before that apt installs nothing, and asks for a person.

    Nothing is configured by it: what else is half installed on this laptop is not ours. Where dpkg is busy, nothing.
    """
    run(["dpkg", f"--admindir={root}/var/lib/dpkg", "--set-selections"], _LOCAL_SECONDS)  # of nothing


def clear() -> None:
    """Remove what was downloaded, and what apt made of the lists."""
    shutil.rmtree(CACHE, ignore_errors=True)


def install_file(package: Path) -> Ended:
    """Install the package in a file, whether it is newer or older."""
    return run(["dpkg", "--install", "--force-confold", str(package)], _INSTALL_SECONDS)


def installed(package: str) -> tuple[str, bool]:
    """Return the version that dpkg knows of `package`, "" for none, and whether it is whole: configured."""
    try:
        ended = run(["dpkg-query", "--show", "--showformat=${Version} ${db:Status-Abbrev}", package], _LOCAL_SECONDS)
    except FileNotFoundError:  # Fedora
        return "", False
    version, _, status = ended.out.partition(" ")
    known = ended.well and status[1:2] not in ("n", "c", "")
    return (version, status[1:3] == "i ") if known else ("", False)


def is_newer(one: str, other: str) -> bool:
    """Say whether the version `one` comes after `other`, as dpkg has it; everything comes after ""."""
    return not other or run(["dpkg", "--compare-versions", one, "gt", other], _LOCAL_SECONDS).well


def repack(package: str, into: Path, root: Path = Path("/")) -> None:
    """Make a .deb at `into` of the installed `package` as it is on the disk, however it came there; raise OSError.

    Nothing has to be kept from the time it was installed: a technician's stick, an image of a disk, apt.
    """
    query = ["dpkg-query", f"--admindir={root}/var/lib/dpkg"]
    tree = into.parent / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    control = tree / "DEBIAN"
    control.mkdir(mode=0o755, parents=True)
    listed = _said([*query, "--listfiles", package]).splitlines()
    for path in listed:
        _copy(root / path.lstrip("/"), tree / path.lstrip("/"))
    for path in _said([*query, "--control-path", package]).splitlines():
        # dpkg keeps them as <package>.postinst and so on.
        shutil.copy2(path, control / path.rpartition(".")[2])
    status = _said([*query, "--status", package])
    (control / "control").write_text(_control(status), encoding="utf-8")
    kept = [name for name, sum_ in _conffiles(status) if _keep(tree / name.lstrip("/"), sum_)]
    if kept:
        (control / "conffiles").write_text("".join(name + "\n" for name in kept), encoding="utf-8")
    _said(["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", str(tree), str(into)])
    shutil.rmtree(tree)


def _copy(source: Path, target: Path) -> None:
    try:
        mode = source.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        target.mkdir(mode=0o755, parents=True, exist_ok=True)
        target.chmod(stat.S_IMODE(mode) & 0o1777)
    elif stat.S_ISLNK(mode) or stat.S_ISREG(mode):
        shutil.copy2(source, target, follow_symlinks=False)


def _control(status: str) -> str:
    """Return the control file of a package out of what dpkg knows of it."""
    fields = re.split(r"\n(?! )", status.strip("\n"))
    own = ("Status:", "Conffiles:", "Config-Version:")
    return "".join(field + "\n" for field in fields if field and not field.startswith(own))


def _conffiles(status: str) -> list[tuple[str, str]]:
    """Return the settings files of a package, each with the MD5 that it came with, out of what dpkg knows of it."""
    found = re.search(r"^Conffiles:\n((?: .*\n)*)", status, re.MULTILINE)
    return [(words[0], words[1]) for line in (found.group(1) if found else "").splitlines() for words in [line.split()]]


def _keep(file: Path, came_with: str) -> bool:
    """Say whether the way back has the settings file `file`, and take it out there where a technician changed it.

    It would be taken for the package's own, and the next version would replace it. What is left out stays as it is.
    """
    if not file.is_file() or file.is_symlink():
        return False
    if hashlib.md5(file.read_bytes()).hexdigest() == came_with:  # noqa: S324  it is dpkg's, and guards nothing
        return True
    file.unlink()
    return False


def _said(command: Sequence[str]) -> str:
    ended = run(command, _LOCAL_SECONDS)
    if not ended.well:
        raise OSError(f"{command[0]}: {ended.err.strip()[-300:]}")
    return ended.out
