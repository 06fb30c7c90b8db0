# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages to publish, a repository to publish them in, and a laptop's apt that reads it over HTTP."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from schoolserver.audit import Who
from schoolserver.repository import Repository

MARIA = Who("maria", "console")
START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


def missing() -> str:
    """Return why nothing can be published here, or "" if it can."""
    for program in (
        "reprepro", "createrepo_c", "gpg", "gpg-agent", "gpgv", "ssh-keygen", "rpmbuild", "rpm2cpio", "apt-get",
    ):  # fmt: skip
        if shutil.which(program) is None:
            return f"{program} is not installed: make setup"
    return "" if os.geteuid() == 0 else "only root may publish"


def at(day: float) -> datetime:
    """Return a time, `day` days after the first."""
    return START + timedelta(days=day / 100)


def stand(where: Path, workshop: Path) -> Repository:
    """Return a repository below the directory `where`."""
    library = where / "library"
    (library / "users").mkdir(parents=True)
    return Repository(
        library / "repository", library / "repository-key", library / "audit.jsonl", where / "lock", workshop,
        library / "push-key",
    )  # fmt: skip


def deb(where: Path, version: str, name: str = "xo-client", content: str = "") -> Path:
    """Build a package of `version` in the directory `where`; return the file."""
    source = where / f"{name}-{version}-{len(content)}"
    (source / "DEBIAN").mkdir(parents=True)
    (source / "usr/share/xo-client").mkdir(parents=True)
    (source / "usr/share/xo-client/version").write_text(version + content)
    fields = {"Package": name, "Version": version, "Architecture": "all", "Section": "education"}
    fields |= {"Priority": "optional", "Maintainer": "Maria <maria@example.org>", "Description": "backs up"}
    (source / "DEBIAN/control").write_text("".join(f"{name}: {value}\n" for name, value in fields.items()))
    # Random bytes make it long enough to be cut anywhere.
    (source / "usr/share/xo-client/data").write_bytes(os.urandom(20000))
    file = where / f"{source.name}.deb"
    _run("dpkg-deb", "--root-owner-group", "--build", source, file)
    return file


def rpm(where: Path, version: str, name: str = "xo-client") -> Path:
    """Build a package for Fedora of `version` in the directory `where`; return the file."""
    spec = where / f"{name}-{version}.spec"
    spec.write_text(
        f"Name: {name}\nVersion: {version}\nRelease: 1\nSummary: backs up\nLicense: GPL-3.0-or-later\n"
        "BuildArch: noarch\n"
        "%description\nIt backs up.\n%install\nmkdir -p %{buildroot}/usr/share/xo-client\n"
        "head -c 20000 /dev/urandom >%{buildroot}/usr/share/xo-client/data\n%files\n/usr/share/xo-client/data\n"
    )
    file = where / f"{name}-{version}-1.noarch.rpm"
    _run(
        "rpmbuild", "-bb", "--quiet", "--define", f"_topdir {where / 'rpmbuild'}", "--define", f"_rpmdir {where}",
        "--define", "_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.noarch.rpm", spec,
    )  # fmt: skip
    return file


@contextmanager
def served(directory: Path, before: Callable[[str], object] = lambda path: None) -> Iterator[str]:
    """Serve `directory` over HTTP; the address. `before` is called before each answer, with the path asked for."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            before(self.path)
            super().do_GET()

        def log_request(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Laptop:
    """apt in a root directory of its own, with one source and the keys that it was given."""

    def __init__(self, root: Path, address: str, keys: Path) -> None:
        self.keyring = root / "school.asc"
        self.options = [
            f"Dir={root}", f"Dir::State::status={root}/status", "APT::Sandbox::User=root", "Acquire::Languages=none",
            "APT::Architecture=amd64", "APT::Architectures=amd64",
        ]  # fmt: skip
        for directory in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists", "var/cache/apt/archives"):
            (root / directory).mkdir(parents=True)
        (root / "status").touch()
        shutil.copyfile(keys, self.keyring)
        (root / "etc/apt/sources.list").write_text(f"deb [signed-by={self.keyring}] {address}/apt school main\n")
        self.downloads = root / "downloads"
        self.downloads.mkdir()

    def apt(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of apt's programs."""
        options = [word for option in self.options for word in ("-o", option)]
        return subprocess.run(
            [program, *options, *words], cwd=self.downloads, env={**os.environ, "LC_ALL": "C"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def update(self) -> str:
        """Get the index; return what apt complains of."""
        done = self.apt("apt-get", "-o", "APT::Update::Error-Mode=any", "update")
        return "" if done.returncode == 0 else done.stderr

    def offered(self, package: str = "xo-client") -> str:
        """Return the version that an upgrade would take, "" where there is none."""
        shown = self.apt("apt-cache", "policy", package).stdout
        return next((line.split()[1] for line in shown.splitlines() if "Candidate:" in line), "")

    def download(self) -> str:
        """Get the package; return what apt complains of."""
        done = self.apt("apt-get", "download", "xo-client")
        return "" if done.returncode == 0 else done.stderr


class Fedora:
    """Debian's dnf with an empty Fedora as its root directory, and the school's repository alone."""

    def __init__(self, root: Path, address: str) -> None:
        (root / "repos").mkdir(parents=True)
        (root / "repos/school.repo").write_text(
            f"[school]\nname=school\nbaseurl={address}/rpm\nrepo_gpgcheck=1\ngpgcheck=0\ngpgkey={address}/school.asc\n"
        )
        self.root = root / "root"
        self.options = [
            "--assumeyes", "--releasever=40", "--forcearch=x86_64", "--refresh", f"--installroot={self.root}",
            f"--setopt=reposdir={root / 'repos'}", f"--setopt=cachedir={root / 'cache'}",
        ]  # fmt: skip

    def dnf(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run dnf."""
        done = subprocess.run(["dnf", *self.options, *words], capture_output=True, text=True, check=False)
        for home in self.root.parent.glob("cache/*/pubring"):  # dnf leaves its agent running
            _run("gpgconf", "--homedir", home, "--kill", "gpg-agent")
        return done


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)
