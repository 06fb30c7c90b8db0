# SPDX-License-Identifier: GPL-3.0-or-later
"""A school's year of updates: from the first released version to this one, by pull and by push, bad ones and back.

The steps build on each other, in this order.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

import clone
from small_laptop import DOCUMENTS, Laptop

IMAGE = "/var/lib/xs-library.img"
CURRENT = "/library/repository/current"
ONE_LINE = "wget -qO- http://schoolserver/client/install | sh"
SUMS = "cd /library/users && find . -path '*/datastore/*/data' | sort | xargs sha256sum"
# Apart from what apt keeps of everything that it fetched, the child's own, and what a technician wrote.
OURS = "find / -xdev -name '*xo?client*'" + "".join(
    f" -not -path '{one}/*'" for one in ("/home", "/proc", "/var/cache/apt", "/etc", "/root")
)
OLD_CLIENT = "XOL00000099"
# A new version whose programs start and that cannot talk to the server.
BROKEN = ("xo-client/src/xo_client/server.py", '_VERSION = "1"', '_VERSION = "none"')
# The versions that are published here by hand; above whatever this checkout is.
BAD, GOOD, LATER = "99.0", "99.1", "99.2"

# `make soak` cuts more.
POWER_CUTS = int(os.environ.get("XS_POWER_CUTS", "2"))


def published(server: Host) -> dict[str, Any]:
    """Return what the server says to laptops."""
    said = json.loads(server.file(f"{CURRENT}/publication.json").content_string)
    assert isinstance(said, dict)
    return said


def publish(server: Host, *files: Path) -> str:
    """Publish `files` as an operator does."""
    for file in files:
        server.check_output("mkdir -p /root/packages")
        clone.copy(file, "schoolserver:/root/packages/")
    return str(server.check_output("xs repository publish " + " ".join(f"/root/packages/{one.name}" for one in files)))


def test_01_the_first_release_is_deployed(server: Host, first: str) -> None:
    clone.play("site")
    assert published(server)["version"] == first


def test_02_laptops_get_it_by_the_page_the_stick_and_ansible(
    server: Host, first: str, pc12: Laptop, pc13: Laptop, asleep: Laptop, full: Laptop
) -> None:
    for laptop in (pc12, pc13, asleep, full):
        laptop.gets_a_child()
    for laptop in (pc12, asleep):
        laptop.runs(ONE_LINE)
    server.check_output("xs repository export /root/stick")
    clone.copy("schoolserver:/root/stick", full.name + ":/media/", recursive=True)
    full.runs("sh /media/stick/install")
    clone.play("install_laptops")
    # Who was here last is asked first in a push, and where that one fails nobody else is.
    for laptop in (full, pc12, pc13, asleep):
        assert laptop.version() == first
        laptop.backs_up()
    # A laptop whose software nobody will ever update.
    asleep.runs(f"/opt/laptop/old_client.py {OLD_CLIENT}")


def test_03_the_school_is_upgraded_with_all_that_is_in_it(server: Host, first: str, pc12: Laptop) -> None:
    before = server.check_output(SUMS)
    accounts = server.check_output("cat /library/users/*/account.json")
    # The first release let the library give room back to the disk below it.
    server.check_output("fstrim /library")
    clone.pull()
    clone.play("site")
    assert not [one for one in server.mount_point("/library").options if one.startswith("discard")]
    assert server.check_output(SUMS) == before
    assert server.check_output("cat /library/users/*/account.json") == accounts
    assert published(server)["version"] != first
    size, blocks = server.check_output(f"stat --format='%s %b' {IMAGE}").split()
    assert int(blocks) * 512 >= int(size)
    # A laptop that nobody has updated yet goes on as it was.
    pc12.runs("runuser -l olpc -c 'rm .sugar/default/ds-backup-done'")
    pc12.backs_up()
    assert len(server.check_output(f"ls /library/users/{pc12.serial}/datastore").split()) >= 2


def test_04_a_laptop_pulls_by_itself(server: Host, first: str, pc13: Laptop) -> None:
    new = published(server)["version"]
    assert (pc13.status()["version"], pc13.status()["school_version"]) == (first, new)
    assert pc13.pulls()["outcome"] == "updated"
    assert (pc13.version(), pc13.status()["version"]) == (new, new)
    assert pc13.pulls()["outcome"] == "current"
    pc13.backs_up()


def test_05_a_push_updates_those_that_are_here_and_says_what_became_of_each(
    server: Host, pc12: Laptop, pc13: Laptop, asleep: Laptop, full: Laptop
) -> None:
    before = full.version()
    asleep.sleeps()
    full.has_a_small_disk("/var/lib")
    full.fills_it()
    seen = json.loads(server.file("/var/lib/xs-permission/seen.json").content_string)
    said = clone.play("update_laptops", "--inventory=inventory/laptops.py", ends=2)
    full.has_its_own_disk_again()
    here = sorted((pc12, pc13, asleep, full), key=lambda laptop: str(seen[laptop.serial]["when"]))
    assert f"[{here[-1].serial} " in said[said.index("TASK [Ask]") :].splitlines()[1], "who was here last is first"
    table = clone.table(said)
    assert "updated" in table[pc12.serial]
    assert "current" in table[pc13.serial]
    assert "not here" in table[asleep.serial]
    assert "failed" in table[full.serial]
    assert "disk is full" in table[full.serial]
    assert "old client" in table[OLD_CLIENT]
    assert (pc12.version(), full.version()) == (published(server)["version"], before)


def test_06_a_push_is_repeated_when_the_lid_is_open_and_the_disk_has_room(
    server: Host, pc12: Laptop, pc13: Laptop, asleep: Laptop, full: Laptop
) -> None:
    asleep.wakes()
    table = clone.push()
    assert "updated" in table[asleep.serial]
    assert "updated" in table[full.serial]
    assert "current" in table[pc12.serial]
    assert {one.version() for one in (pc12, pc13, asleep, full)} == {published(server)["version"]}


def test_07_a_bad_version_is_taken_back_and_said(server: Host, pc12: Laptop, pc13: Laptop, tmp_path: Path) -> None:
    before = pc12.version()
    publish(server, *clone.build(BAD, tmp_path, BROKEN))
    pulled = pc13.pulls()
    assert (pulled["outcome"], pulled["version"]) == ("failed", before)
    assert pc13.version() == before
    assert BAD in pc13.as_child("xo-backup status")
    assert pc13.pulls()["outcome"] == "later", "what did not work is not tried every hour"
    table = clone.push("--limit", f"{pc12.serial},schoolservers", ends=2)
    assert "failed" in table[pc12.serial]
    assert BAD in table[pc12.serial]
    assert pc12.version() == before
    pc12.backs_up()


def test_08_a_disk_that_is_full_or_broken_changes_nothing_and_is_said(server: Host, full: Laptop) -> None:
    before = full.version()
    assert before != published(server)["version"]
    full.has_a_small_disk("/var")
    full.fills_it()
    table = clone.push("--limit", f"{full.serial},schoolservers", ends=2)
    assert "disk is full" in table[full.serial]
    full.runs("rm /var/film")
    full.cannot_write_it()
    table = clone.push("--limit", f"{full.serial},schoolservers", ends=2)
    assert "cannot be written" in table[full.serial]
    full.has_its_own_disk_again()
    assert full.version() == before


@pytest.mark.parametrize(
    "done",
    [
        "rm apt/dists/school/InRelease apt/dists/school/Release.gpg",
        "sed -i 's/^Origin: .*/Origin: another/' apt/dists/school/InRelease",
        "printf x >>$(ls apt/pool/main/x/xo-client/*.deb)",
        "truncate --size=-5000 $(ls apt/pool/main/x/xo-client/*.deb)",
    ],
    ids=["unsigned", "list changed", "package changed", "half a package"],
)
def test_09_what_is_not_the_schools_or_not_whole_changes_nothing(
    server: Host, pc12: Laptop, pc13: Laptop, tmp_path: Path, done: str
) -> None:
    if not published(server)["version"].startswith(GOOD):
        publish(server, *clone.build(GOOD, tmp_path))
    tried = "/library/repository/.tried"
    good = server.check_output(f"readlink {CURRENT}")
    server.check_output(f"rm -rf {tried} && cp -a $(readlink -f {CURRENT}) {tried} && cd {tried} && {done}")
    server.check_output(f"ln -sfn .tried {CURRENT}")
    try:
        for laptop in (pc12, pc13):
            before = laptop.version()
            pulled = laptop.pulls()
            assert (pulled["outcome"], pulled["version"]) == ("failed", before)
            assert pulled["message"]
            assert "\n" not in pulled["message"]
            assert laptop.version() == before
    finally:
        server.check_output(f"ln -sfn {good} {CURRENT} && rm -rf {tried}")


def test_10_a_power_cut_in_an_update_leaves_one_version_or_the_other(server: Host, pc12: Laptop, pc13: Laptop) -> None:
    for laptop in (pc12, pc13):
        before = laptop.version()
        laptop.keeps_its_version()
        for _ in range(POWER_CUTS):
            moment = random.uniform(0, 6)
            print(f"{laptop.name}: {moment:.2f} s")
            laptop.loses_power_in_an_update(moment)
            laptop.is_whole()
            assert laptop.version() in {before, published(server)["version"]}
            laptop.gets_it_again()


def test_11_the_same_version_as_it_was_published_is_taken(server: Host, pc12: Laptop, pc13: Laptop) -> None:
    for laptop in (pc12, pc13):
        assert laptop.pulls()["outcome"] == "updated"
        assert laptop.version().startswith(GOOD)


def test_12_an_older_version_is_left_alone(server: Host, pc12: Laptop) -> None:
    server.check_output("xs repository withdraw")
    assert published(server)["version"] != pc12.version()
    before = pc12.version()
    pulled = pc12.pulls()
    assert (pulled["outcome"], pc12.version()) == ("current", before)


def test_13_a_new_key_reaches_the_laptops_by_itself(server: Host, pc12: Laptop, pc13: Laptop, tmp_path: Path) -> None:
    server.check_output("xs repository rotate-key")
    for laptop in (pc12, pc13):
        assert laptop.pulls()["outcome"] in {"updated", "current"}
    server.check_output("xs repository rotate-key --finish")
    publish(server, *clone.build(LATER, tmp_path))
    for laptop in (pc12, pc13):
        assert laptop.pulls()["outcome"] == "updated"
        assert laptop.version().startswith(LATER)


def test_14_a_push_is_the_schools_and_nothing_but_a_push(server: Host, pc12: Laptop, pc13: Laptop) -> None:
    options = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    address = pc12.host.check_output("hostname -I").split()[0]
    pc13.runs("ssh-keygen -q -t ed25519 -N '' -f /root/classmate")
    pc13.runs(f"! ssh {options} -i /root/classmate xo-push@{address} true")
    school = f"ssh {options} -i /library/push-key xo-push@{address}"
    for command in ("id", "sh -i", "/usr/lib/xo-client/update", "internal-sftp", "rsync --server . /etc"):
        answer = json.loads(server.check_output(f"{school} '{command}' </dev/null"))
        assert set(answer) == {"format", "outcome", "version", "was", "message"}
    assert "SSH-" not in server.check_output(f"timeout 10 {school} -W localhost:22 </dev/null; true")
    behind = school.replace("ssh ", "ssh -N -R 9999:localhost:22 -o ExitOnForwardFailure=yes ", 1)
    assert server.check_output(f"timeout 10 {behind}; echo $?") == "255"
    server.check_output(f"! scp {options} -i /library/push-key /etc/hostname xo-push@{address}:/tmp/x")
    assert not pc12.host.file("/tmp/x").exists


def test_15_without_the_package_the_documents_stay(server: Host, pc12: Laptop, pc13: Laptop) -> None:
    pc12.runs("apt-get purge --yes xo-client xo-school")
    clone.play("install_laptops", "--extra-vars={'xo_client_enabled': false}")
    for laptop in (pc12, pc13):
        assert not laptop.version()
        assert laptop.documents() == DOCUMENTS
        laptop.runs("sshd -t")
        assert not laptop.host.file("/etc/apt/sources.list.d/xo-school.sources").exists
        assert not laptop.runs(OURS)
    assert server.check_output(f"ls -d /library/users/{pc12.serial}/datastore-latest/??/* | wc -l") == str(DOCUMENTS)


def test_16_a_laptop_that_woke_up_in_1970_is_installed_or_says_how_to(pc12: Laptop, pc13: Laptop) -> None:
    long_ago = f"faketime '1970-01-02 00:00:00' sh -c '{ONE_LINE}' 2>&1"
    pc12.runs(long_ago)
    assert pc12.version()
    # Debian 13's apt has no gpgv, which takes a signature whatever the clock says.
    said = pc13.runs(long_ago, ends=1)
    assert "clock says 1970-01-02" in said
    assert not pc13.runs(OURS)
    advice = said.partition("date -s '")[2].partition("'")[0]
    assert abs(int(pc13.runs(f"date -d '{advice}' +%s")) - int(pc13.runs("date +%s"))) < 60
