# SPDX-License-Identifier: GPL-3.0-or-later
"""One backup over the network: sshd, gate, jail, rsync and snapshot are those of the host's own release of Debian."""

from __future__ import annotations

import shlex
import subprocess
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

SERIAL = "CSN0000000E"
TREE = f"/library/users/{SERIAL}"
DOCUMENT = "3f/3f2504e0-4f89-41d3-9a0c-0305e82c3301"
# All that a laptop of 2008 knows.
OLD = ("-o", "PubkeyAcceptedAlgorithms=ssh-dss", "-o", "HostKeyAlgorithms=ssh-rsa",
       "-o", "KexAlgorithms=diffie-hellman-group14-sha1")  # fmt: skip


def files(directory: Path) -> dict[str, str]:
    """Return the text of each file below `directory`."""
    return {
        str(file.relative_to(directory)): file.read_text(encoding="utf-8")
        for file in directory.rglob("*")
        if file.is_file()
    }


def register(address: str, serial: str, key: Path, kind: str) -> Any:
    """Return what the school server answers to a laptop with a new key of `kind`, written to `key`."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key], check=True)
    public = key.with_suffix(".key.pub").read_text(encoding="utf-8").split()[1]
    machine = "5dd1a5d0-7f2d-4c2a-9a5c-0a9d3c0b6a15"
    return xmlrpc.client.ServerProxy(f"http://{address}:8080/").register(serial, "Chandra", machine, public)


@pytest.fixture(scope="module")
def rsync(address: str, ssh: list[str], takes_dsa: bool, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The rsync of a laptop that has registered: the oldest kind of laptop that the host takes."""
    key = tmp_path_factory.mktemp("laptop") / "owner.key"
    answer = register(address, SERIAL, key, "dsa" if takes_dsa else "ed25519")
    assert answer["success"] == "OK", answer
    return ["rsync", "-zrlt", "-e", shlex.join([*ssh, *(OLD if takes_dsa else ()), "-i", str(key), "-l", SERIAL])]


def test_a_dsa_key_that_sshd_would_turn_away_is_refused_in_words(address: str, takes_dsa: bool, tmp_path: Path) -> None:
    answer = register(address, "SHC0000000D", tmp_path / "owner.key", "dsa")
    if takes_dsa:
        assert answer["success"] == "OK"
    else:
        assert "of the old kind, DSA" in answer["error"]


def test_a_backup_becomes_a_snapshot_and_comes_back(
    host: Host, address: str, get: Callable[..., Any], rsync: list[str], tmp_path: Path
) -> None:
    journal, back = tmp_path / "datastore", tmp_path / "back"
    (journal / DOCUMENT / "metadata").mkdir(parents=True)
    (journal / "version").write_text("6", encoding="utf-8")
    (journal / DOCUMENT / "data").write_text("once upon a time\n", encoding="utf-8")
    (journal / DOCUMENT / "metadata" / "title").write_text("Story", encoding="utf-8")
    assert get(f"/backup/1/available/{SERIAL}").status == 200
    send = ["--timeout", "160", "--partial", "--delete", f"{journal}/", f"{address}:datastore-current"]
    subprocess.run([*rsync, *send], check=True, timeout=60)
    host.check_output(f"for i in $(seq 100); do [ -e {TREE}/datastore-latest ] && exit; sleep .1; done; exit 1")
    assert host.file(f"{TREE}/datastore-latest/{DOCUMENT}/data").content_string == "once upon a time\n"
    subprocess.run([*rsync, f"{address}:datastore-latest/", f"{back}/"], check=True, timeout=60)
    assert files(back) == files(journal)
