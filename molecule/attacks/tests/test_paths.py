# SPDX-License-Identifier: GPL-3.0-or-later
"""Others' trees, the server's files, her own history: asked for by every kind of path. Each key says the gain."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eve import Eve, refused
from ground import Ground
from laptop import Laptop
from siege import SECRET, Refuse

PULL = "rsync --server --sender -ltre.iLs . {}"
PUSH = "rsync --server -ltrze.iLs --delete . {}"
FLAG = "rsync --server -ltrze.iLs --timeout=10 --temp-dir /tmp . {}"

# {jim}, {stamp}, {kept}: Jim's tree, its newest snapshot, its keepsake. {eve}: her own tree.
READ = {
    "/etc/passwd: login names": "/etc/passwd",
    "/etc/shadow: the technician's password": "/etc/shadow",
    "/etc/ssh: the server's own key": "/etc/ssh/ssh_host_ed25519_key",
    "/library: the school's own key": "/library/school-key",
    "/etc/xs/keys: who else has a key": "/etc/xs/keys/",
    "registry.db: all serials": "/var/lib/xs/registry.db",
    "catalog.db: the titles of all documents": "/var/lib/xs/catalog.db",
    "/proc/self/environ: the gate's environment": "/proc/self/environ",
    "/dev/sda: the whole disk": "/dev/sda",
    "/: everything": "/",
    "..: the trees of all": "..",
    "../: the trees of all": "../",
    "../../etc/passwd: login names": "../../etc/passwd",
    "Jim's tree by its whole path: his documents": "/library/users/{jim}/datastore-latest/",
    "Jim's tree by a way up: his documents": "../{jim}/datastore-latest/",
    "Jim's snapshot by a way up: his documents": "datastore/../../{jim}/datastore/{stamp}/",
    "Jim's snapshot by a long way up: his documents": "datastore-latest/../../../{jim}/datastore/{stamp}/",
    "Jim's snapshot behind a double slash: his documents": "//library/users/{jim}/datastore/{stamp}/",
    "Jim's tree by its name: his documents": "{jim}/datastore-latest/",
    "Jim's keepsake by its whole path: a document that he deleted": "/library/users/{jim}/{kept}/",
    "Jim's tree through trees/: his newest documents": "trees/{jim}/datastore-latest/",
    "Jim's keepsake through trees/: a document that he deleted": "trees/{jim}/{kept}/",
    "a way up in trees/: all trees": "trees/../datastore/{stamp}/",
    "a way up behind trees/: his documents": "trees/{eve}/../{jim}/datastore/{stamp}/",
    "Jim's tree in small letters: a file system that does not care": "trees/{jim_small}/datastore/{stamp}/",
    "Jim's tree in look-alike letters: a file system that does not care": "trees/{jim_wide}/datastore/{stamp}/",
    "her own incoming: what she is writing": "datastore-current/",
    "her own account.json: how the server knows her": "account.json",
    "her own .state: the gate's lock": ".state/lock",
    "her own pins: which snapshots are held": "pins.json",
    "an unfinished snapshot: what nobody sealed": "datastore/.2026-11-26T000000Z.new/",
    "datastore/: all snapshots at once": "datastore/",
    "keepsakes/: all keepsakes at once": "keepsakes/",
    "one document in a snapshot: a path inside": "datastore/{own}/../",
    "dot behind: another name of the same": "datastore-latest/.",
    "dots behind: another name of the same": "datastore-latest...",
    "two slashes behind: another name of the same": "datastore-latest//",
    "*: a shell's pattern": "datastore-*/",
    "?: a shell's pattern": "datastore-lates?",
    "[]: a shell's pattern": "datastore-[l]atest",
    "{}: a shell's alternatives": "{{datastore-latest,/etc}}",
    "%2e%2e: a way up that is decoded later": "%2e%2e/%2e%2e/etc/passwd",
    "%00: what follows unseen": "datastore-latest%00/etc/passwd",
    "%2f: a slash that is decoded later": "datastore-latest%2f..%2f..",
    "&#46;: a way up that is decoded later": "&#46;&#46;/x",
    "full-width dots: a way up in look-alikes": "．．/．．/etc/passwd",
    "division slash: a slash in look-alikes": "..∕..∕etc∕passwd",
    "one dot leader: a way up in look-alikes": "․․/etc",
    "right-to-left: a path that reads otherwise": "\u202edatastore-latest",
    "combining sign: a name that is normalised later": "datastore-latést",
    "zero-width space: a name that is stripped later": "datastore-latest\u200b",
    "backslash: a way up of another system": "..\\..\\etc\\passwd",
    "a stamp of another calendar: a parser that rolls over": "datastore/2026-13-45T250000Z/",
    "a stamp in other digits: a parser that takes them": "datastore/٢٠٢٦-11-26T000000Z/",
    "a path of 250 signs: a buffer": "datastore/" + "x" * 220,
    "::module: the rsync daemon's words": "localhost::module",
    "host:path: another host": "192.0.2.1:datastore-latest",
    "two paths: the second one unseen": "datastore-latest/ /etc/passwd",
    "a path that is an option: an option behind the dot": "--files-from=/etc/passwd",
    "the flag's directory: others' flags": "/var/lib/ds-backup/completion/",
}

WRITTEN = {
    "/etc/cron.d: root, every minute": "/etc/cron.d/",
    "/root/.ssh: root's login": "/root/.ssh",
    "Jim's incoming by its whole path: his documents deleted": "/library/users/{jim}/datastore-current",
    "Jim's incoming by a way up: his documents deleted": "../{jim}/datastore-current",
    "Jim's incoming by a longer way up: his documents deleted": "datastore-current/../../{jim}/datastore-current",
    "Jim's tree through trees/: his documents deleted": "trees/{jim}/datastore-current",
    "datastore/: all snapshots deleted": "datastore",
    "datastore/ with a slash: all snapshots deleted": "datastore/",
    "her own finished snapshot: history rewritten": "datastore/{own}",
    "her own finished snapshot with a slash: history rewritten": "datastore/{own}/",
    "a snapshot of her making: history invented": "datastore/2020-01-01T000000Z/",
    "a snapshot of tomorrow: all real ones rotated away": "datastore/2099-01-01T000000Z/",
    "datastore-latest: the newest snapshot rewritten": "datastore-latest",
    "datastore-latest/: the newest snapshot rewritten": "datastore-latest/",
    "keepsakes: last copies deleted": "keepsakes",
    "her own keepsake: a last copy rewritten": "{own_kept}",
    ".state: the mark of a run that never was": ".state/",
    ".state/complete: the mark of a run that never was": ".state/complete",
    "account.json: another learner's uid": "account.json",
    "pins.json: rotation misled": "pins.json",
    "learners: a child's other trees": "/etc/xs/learners/{eve}",
    "key file: a second key": "/etc/xs/keys/20000",
    "the login names: a learner with root's uid": "/var/lib/extrausers/passwd",
    ".: the whole tree": ".",
    "./datastore-current: another name of the same": "./datastore-current",
    "dots behind: another name of the same": "datastore-current/.",
    "double slash: another name of the same": "datastore-current//",
    "a directory inside: a part of incoming as a link": "datastore-current/x",
    "spaces: a name that is trimmed later": "datastore-current\u2003",
    "capitals: a file system that does not care": "Datastore-Current",
}

FLAGS = {
    "a way up: a file of her choice": "/var/lib/ds-backup/completion/../../../etc/x",
    "a way up to the same: a filter that resolves": "/var/lib/ds-backup/completion/x/../{eve}",
    "no serial: the directory of all flags": "/var/lib/ds-backup/completion/",
    "the directory itself: all flags at once": "/var/lib/ds-backup/completion",
    "a directory: a flag that holds files": "/var/lib/ds-backup/completion/{eve}/",
    "a path below: a flag that holds files": "/var/lib/ds-backup/completion/{eve}/x",
    "an option as serial: an option behind the dot": "/var/lib/ds-backup/completion/--daemon",
    "a further tree's name: a flag that is no serial": "/var/lib/ds-backup/completion/{eve}.2",
    "another directory: files put through /tmp": "/var/lib/ds-backup/x",
    "a backup through /tmp: files put outside": "datastore-current",
    "another's tree: files put through /tmp": "/library/users/{jim}/.state/complete",
}


Fill = Callable[[str], str]


@pytest.fixture(scope="module")
def fill(server: Ground, jim: Laptop, eve: Eve, kept: str) -> Fill:
    """`fill(path)` is that path with the names of those who are there."""
    wide = "".join(chr(ord(one) + 0xFEE0) for one in jim.serial)
    names = {
        "jim": jim.serial, "jim_small": jim.serial.lower(), "jim_wide": wide, "stamp": server.stamps(jim.serial)[-1],
        "kept": kept, "eve": eve.laptop.serial, "own": eve.stamps[0],
        "own_kept": f"keepsakes/{eve.kept}/{eve.stamps[0]}",
    }  # fmt: skip
    return lambda path: path.format(**names)


@pytest.mark.parametrize("path", READ.values(), ids=READ)
def test_a_path_that_is_not_hers_to_read_is_refused(refuse: Refuse, fill: Fill, path: str) -> None:
    assert refuse(PULL.format(fill(path)))


@pytest.mark.parametrize("path", WRITTEN.values(), ids=WRITTEN)
def test_a_path_that_is_not_hers_to_write_is_refused(refuse: Refuse, fill: Fill, path: str) -> None:
    assert refuse(PUSH.format(fill(path)))


@pytest.mark.parametrize("path", FLAGS.values(), ids=FLAGS)
def test_a_flag_that_is_none_is_refused(refuse: Refuse, fill: Fill, path: str) -> None:
    assert refuse(FLAG.format(fill(path)))


def test_jims_snapshot_through_trees_is_refused_as_no_tree_of_hers_for_his_documents(
    refuse: Refuse, server: Ground, jim: Laptop
) -> None:
    for stamp in server.stamps(jim.serial):
        assert f"{jim.serial} is no tree of this laptop's child" in refuse(
            PULL.format(f"trees/{jim.serial}/datastore/{stamp}/")
        )


def test_what_is_asked_of_a_tree_that_is_not_there_sounds_the_same_so_that_nobody_learns_who_is(
    refuse: Refuse, server: Ground, jim: Laptop
) -> None:
    there = refuse(PULL.format(f"trees/{jim.serial}/datastore/{server.stamps(jim.serial)[0]}/"))
    not_there = refuse(PULL.format("trees/SHC99999999/datastore/2026-01-01T000000Z/"))
    assert there.replace(jim.serial, "…") == not_there.replace("SHC99999999", "…")


def test_jims_stamps_and_keepsakes_are_not_in_her_tree_so_they_cannot_be_had_by_their_names(
    refuse: Refuse, server: Ground, jim: Laptop, eve: Eve, kept: str
) -> None:
    assert "has no keepsakes/" in refuse(PULL.format(kept))
    for stamp in set(server.stamps(jim.serial)) - set(server.stamps(eve.laptop.serial)):
        said = refuse(PULL.format(f"datastore/{stamp}/"))
        assert "has no datastore/" in said


def test_jims_flag_completes_nothing_of_his(server: Ground, jim: Laptop, eve: Eve) -> None:
    """The old flag names a serial: with another's in it, his run must not become complete, nor his lease end."""
    before = server.stamps(jim.serial)
    said = eve.laptop._rsync(
        "--timeout", "10", "-T", "/tmp", "/dev/null", f"{eve.laptop.server}:/var/lib/ds-backup/completion/{jim.serial}"
    )
    assert server.stamps(jim.serial) == before
    assert server.run(f"ls /var/lib/ds-backup 2>/dev/null; ls -A /library/users/{jim.serial}/.state").split() in (
        ["lock", "usage"],
        ["lock"],
    )
    assert SECRET not in said.out


def test_her_answers_hold_nothing_of_jims(eve: Eve, jim: Laptop) -> None:
    for verb in ("status", "history"):
        said = eve.say(f"xs {verb}")
        assert said.exit == 0
        assert jim.serial.encode() not in said.out
    assert refused(eve.say(f"xs history {jim.serial}"))
