# SPDX-License-Identifier: GPL-3.0-or-later
"""A technician types what the README says, in order: from a fresh clone to a school, and back to a bare host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xmlrpc.client
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from testinfra.host import Host

PROJECT = Path(__file__).resolve().parents[3]
sys.path.append(str(PROJECT / "molecule" / "shared"))

from documented import blocks  # noqa: E402  (molecule runs this file without the project's settings for pytest)

README = (PROJECT / "README.md").read_text(encoding="utf-8")
DEPLOY, REMOVE = ([*block.commands] for block in blocks(README) if block.who == "technician")
ON_SERVER = next(block.commands for block in blocks(README) if block.who == "server")
SERIAL = "SHC12345678"  # the laptop that the README's commands name
INVENTORY = "inventory/myschool"
SSH_CONFIG = PROJECT / "build/lab/readme/ssh_config"


@dataclass
class Technician:
    """Somebody with a fresh clone and a shell. What prepares the shell is typed again in each new one."""

    clone: Path
    environment: dict[str, str]
    prepared: list[str] = field(default_factory=list)

    def types(self, command: str) -> str:
        """Run `command` in the clone and return what it printed; fail with its last lines if it failed."""
        done = self.tries(command)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}"
        if command.startswith(". "):
            self.prepared.append(command)
        return done.stdout

    def tries(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run `command` in the clone, whatever comes of it."""
        return subprocess.run(
            ["bash", "-euc", "\n".join([*self.prepared, command])],
            cwd=self.clone, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def address() -> str:
    """Where the bare host is reached."""
    found = re.search(r"HostName (\S+)", SSH_CONFIG.read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def technician(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Technician:
    # It asks for `host` so that all tests do: pytest runs those that share a host first, out of the README's order.
    clone = tmp_path_factory.mktemp("technician") / "xs"
    subprocess.run(
        ["git", "-c", f"safe.directory={PROJECT / '.git'}", "clone", "--quiet", str(PROJECT), str(clone)], check=True
    )
    # A technician's shell and ssh, not molecule's: nothing of ours in the environment but how to log in.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_", "XS_"))}
    login = {"ANSIBLE_SSH_COMMON_ARGS": f"-F {SSH_CONFIG}"}
    kept["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    kept.pop("VIRTUAL_ENV", None)
    return Technician(clone, kept | login)


def changes(output: str) -> int:
    """Return how many tasks Ansible's recap calls changed."""
    found = re.search(r"changed=(\d+)\s.*unreachable=0\s+failed=0", output)
    assert found is not None, output[-3000:]
    return int(found[1])


def test_a_fresh_clone_is_made_ready_and_the_example_copied(technician: Technician, address: str) -> None:
    for command in DEPLOY[:3]:
        technician.types(command)
    inventory = technician.clone / INVENTORY
    for file, line, edited in (
        ("hosts.yml", r"ansible_host: .*", f"ansible_host: {address}"),
        ("group_vars/schoolservers.yml", r"xs_network_interface: .*", "xs_network_interface: eth0"),
        ("group_vars/schoolservers.yml", r"# xs_library_image_gib: .*", "xs_library_image_gib: 4"),
    ):
        text, count = re.subn(line, edited, (inventory / file).read_text(encoding="utf-8"))
        assert count == 1, f"{file}: {line}"
        (inventory / file).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("setting", "answer"),
    [
        ("xs_libary_image_gib: 4", "xs_library_image_gib"),
        ("xs_network_interface: eth7", "xs_network_interface: schoolserver has no interface eth7; it has eth0"),
        ("xs_snapshots_keep_all_days: never", "xs_snapshots_keep_all_days"),
        ("xs_library_image_gib: 900000", "xs_library_image_gib"),
    ],
)
def test_a_wrong_setting_stops_the_run_before_anything_changes(
    technician: Technician, host: Host, setting: str, answer: str
) -> None:
    file = technician.clone / INVENTORY / "group_vars" / "schoolservers.yml"
    right = file.read_text(encoding="utf-8")
    packages = host.check_output("dpkg --get-selections")
    try:
        name = setting.partition(":")[0]
        kept = [line for line in right.splitlines() if not line.startswith(f"{name}:")]
        file.write_text("\n".join([*kept, setting, ""]), encoding="utf-8")
        stopped = technician.tries(DEPLOY[-1])
    finally:
        file.write_text(right, encoding="utf-8")
    assert stopped.returncode != 0
    assert answer in stopped.stdout
    assert re.search(r"changed=0\s", stopped.stdout)
    assert host.check_output("dpkg --get-selections") == packages


def test_check_mode_promises_what_the_real_run_then_does(technician: Technician) -> None:
    promised = changes(technician.types(DEPLOY[-2]))
    assert promised > 10
    assert changes(technician.types(DEPLOY[-1])) == promised


def test_a_second_run_changes_nothing(technician: Technician) -> None:
    assert changes(technician.types(DEPLOY[-1])) == 0


def test_the_servers_own_commands_do_what_the_readme_says(host: Host, address: str, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    key = (tmp_path / "key.pub").read_text(encoding="utf-8").split()[1]
    server = xmlrpc.client.ServerProxy(f"http://{address}:8080/")
    answer = server.register(SERIAL, "Jim", "5dd1a5d0-7f2d-4c2a-9a5c-0a9d3c0b6a11", key)
    assert isinstance(answer, dict)
    assert answer["success"] == "OK", answer
    said = {command: host.check_output(command) for command in ON_SERVER}
    assert f"{SERIAL}  {SERIAL}  Jim" in said["xs laptop list"]
    assert said[f"xs page {SERIAL}"].startswith("http://schoolserver/journal/open/")
    assert said["xs rotate --dry-run"].endswith("\n0 snapshots would be removed")


def test_removing_leaves_the_documents_and_says_where_they_are(technician: Technician, host: Host) -> None:
    (remove,) = REMOVE
    host.check_output("echo 'a document' >/library/users/%s/documents/story", SERIAL)
    said = technician.types(remove)
    assert "/var/lib/xs-library.img" in said
    assert not host.exists("xs")
    assert host.run("mount --mkdir -o ro,loop /var/lib/xs-library.img /mnt/library").rc == 0
    try:
        assert host.file(f"/mnt/library/users/{SERIAL}/documents/story").content_string == "a document\n"
    finally:
        host.run("umount /mnt/library")
    assert changes(technician.types(remove)) == 0
