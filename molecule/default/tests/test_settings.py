# SPDX-License-Identifier: GPL-3.0-or-later
"""A setting that is missing, misspelt or impossible stops site.yml before anything changes, and says how to mend it.

What depends on the settings alone is tested without a host (tests/playbooks); here is what a host has to say.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
SWAP, NOTES, PASSWD = "/root/swap.img", "/root/notes.txt", "/var/lib/extrausers/passwd"
DISK = "/dev/disk/by-id/lab-swap"

Play = Callable[..., Any]

# What to check on the host: a role, its settings, what it says.
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("xs_package", {"xs_package_file": "/srv/none.deb"}, "/srv/none.deb is no file named schoolserver_<version>"),
    ("xs_library", {"xs_library_device": "/dev/nothing"}, "/dev/nothing is no disk of {host}"),
    ("xs_library", {"xs_library_device": DISK}, f"{DISK} on {{host}} holds data that is no library"),
    ("xs_library", {"xs_library_image": SWAP}, f"{SWAP} on {{host}} holds data that is no library"),
    ("xs_library", {"xs_library_image": NOTES}, f"{NOTES} on {{host}} holds data that is no library"),
    ("xs_library", {"xs_library_image": "/srv/none/x.img"}, "there is no directory /srv/none on {host}"),
    ("xs_library", {"xs_library_image": "/srv/other.img"}, "already has a library, on another disk or image"),
    ("xs_library", {"xs_library_image": "/srv/new.img", "xs_library_image_gib": 999999}, "999999 GiB do not fit"),
    ("xs_network", {"xs_network_interface": "eth7"}, "has no interface eth7; it has eth0"),
    ("xs_network", {"xs_network_dhcp_range": "192.0.2.1,192.0.2.9"}, "the network of the school's interface"),
    ("xs_network", {}, "Port 8080 of {host} is taken by python3"),
    ("xs_accounts", {}, "has login names of somebody else in /var/lib/extrausers (jim)"),
    ("xs_accounts", {"xs_accounts_full_percent": 120}, "xs_accounts_full_percent (120)"),
    ("xs_snapshots", {"xs_snapshots_keep_all_days": 0}, "keep at least 1 day"),
    ("xs_snapshots", {"xs_snapshots_thin_percent": 100}, "xs_snapshots_thin_percent: 100 is no percentage of 1 to 99"),
    ("xs_journal", {"xs_journal_ticket_seconds": 5}, "xs_journal_ticket_seconds: 5 is too short"),
    ("xo_repository", {"xo_repository_files": ["/srv/none.deb"]}, "/srv/none.deb is no file named xo-client_<version>"),
    ("xs_registration", {"xs_registration_laptops": [{"serial": "x", "uuid": "", "pubkey": ""}]}, "x, serial: the"),
]


@pytest.fixture(scope="module")
def theirs(host: Host) -> Iterator[None]:
    """What is somebody else's: swap space on a disk and in a file, notes, a login name, a program on our port."""
    host.check_output(f"truncate --size=64M {SWAP} && mkswap {SWAP} && echo remember >{NOTES}")
    host.check_output(f"mkdir -p /dev/disk/by-id && ln -s $(losetup --find --show {SWAP}) {DISK}")
    host.check_output(f"cp -p {PASSWD} {PASSWD}.ours && echo jim:*:4711:4711::/home/jim:/bin/sh >>{PASSWD}")
    host.check_output("systemctl stop xs-registration.socket xs-registration.service")
    host.check_output("systemd-run --unit=stray --collect python3 -m http.server 8080")
    host.check_output("for i in $(seq 50); do ss --listening --tcp --numeric | grep -q :8080 && break; sleep .1; done")
    yield
    host.check_output("systemctl stop stray && systemctl start xs-registration.socket")
    host.check_output(f"mv {PASSWD}.ours {PASSWD}")
    host.check_output(f"losetup --detach $(readlink {DISK}) && rm {DISK} {SWAP} {NOTES}")


@pytest.fixture(scope="module")
def said(theirs: None, play: Play, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each check of REFUSED said; "" where it let the setting pass. One run for all: each start takes seconds."""
    file, answers = (tmp_path_factory.mktemp("checks") / name for name in ("checks.yml", "answers.json"))
    checks = [
        {
            "vars": settings,
            "block": [{"ansible.builtin.include_role": {"name": role, "tasks_from": "validate"}}],
            "rescue": [{"ansible.builtin.set_fact": {f"said_{number}": "{{ ansible_failed_result | to_json }}"}}],
        }
        for number, (role, settings, _) in enumerate(REFUSED)
    ]
    keep = {
        "ansible.builtin.copy": {
            "content": "{{ lookup('ansible.builtin.vars', *names, default='', wantlist=true) | to_json }}",
            "dest": str(answers), "mode": "0600",
        },
        "vars": {"names": [f"said_{number}" for number in range(len(REFUSED))]},
        "delegate_to": "localhost", "connection": "local",
    }  # fmt: skip
    subset = {"gather_subset": ["!all", "interfaces", "distribution"]}
    file.write_text(json.dumps([{"hosts": "schoolservers", **subset, "tasks": [*checks, keep]}]), encoding="utf-8")
    done = play(file)
    assert done.returncode == 0, done.stdout[-3000:]
    return [" ".join(str(answer).replace("\\n", " ").split()) for answer in json.loads(answers.read_text("utf-8"))]


@pytest.mark.parametrize("number", range(len(REFUSED)), ids=lambda number: f"{REFUSED[number][0]}-{number}")
def test_what_a_host_cannot_do_is_refused_in_words_that_help(said: list[str], name: str, number: int) -> None:
    assert REFUSED[number][2].format(host=name) in said[number]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("xs_libary_device=/dev/sdb", "xs_libary_device is not a setting; did you mean xs_library_device?"),
        ("xs_library_enabled=false", "xs_library_enabled: the other parts need xs_library, so leave it on"),
    ],
)
def test_site_yml_stops_before_anything_changes(play: Play, settings: str, said: str) -> None:
    done = play(PROJECT / "playbooks/site.yml", "--extra-vars", settings)
    assert done.returncode != 0, done.stdout
    assert "changed=0 " in done.stdout, done.stdout
    assert "Make the school server" not in done.stdout, done.stdout
    assert said in " ".join(done.stdout.split())
