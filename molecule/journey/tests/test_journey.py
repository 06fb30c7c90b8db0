# SPDX-License-Identifier: GPL-3.0-or-later
"""A document's journey on a real laptop: Sugar 0.120 as Debian ships it, nothing of it changed or stood in for.

The steps build on each other, in this order. Each runs a program of ../laptop as the child, and looks at both hosts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

from testinfra.host import Host

from conftest import Journey, wait_until
from on_laptop import Run
from reading import Item, items

Seen = Callable[[str], None]

SITE = "http://schoolserver"
JOURNAL = "/home/olpc/.sugar/default/datastore"
RESTORED = "मेरो घर"
LEFT_TO_FIND = "Turtle house"
CHANGED = "Poem about rain"
# What the server is asked by the clients in the field, byte for byte (PROTOCOL.md section 4).
PUSH = "rsync --server -ltrze.iLsfxCIvu --timeout=160 --delete --partial . {}"
FLAG = "rsync --server -ltrze.iLsfxCIvu --timeout=10 --temp-dir /tmp . /var/lib/ds-backup/completion/{}"
PULL = "rsync --server --sender -ltrze.iLsfxCIvu . datastore-latest/"


def test_1_forty_documents_are_made_in_the_journal(child: Run, journey: Journey, seen: Seen) -> None:
    """Forty documents are made in the Journal."""
    assert child("first_start", "Jim")["key"] == "ssh-dss"
    journey.uids = {made["title"]: made["uid"] for made in child("create_documents")}
    journey.first = child("list_documents")

    found = journey.first.values()
    assert sorted(journey.first) == sorted(journey.uids.values())
    previews = sum(document["preview"] is not None for document in found)
    data = sum(document["data"] is not None for document in found)
    assert len(found) == 40
    assert 0 < previews < 40
    assert 0 < data < 40
    seen(f"40 documents: {previews} with a preview, {data} with data, one of 20 MB, one with a Nepali title")


def test_2_the_laptop_registers_by_sugars_own_code(
    child: Run, laptop: Host, server: Host, journey: Journey, seen: Seen
) -> None:
    """The laptop registers by Sugar's own code."""
    found = laptop.check_output("getent ahostsv4 schoolserver").split()[0]
    assert found in server.check_output("hostname -I").split()
    assert "schoolserver" not in laptop.file("/etc/hosts").content_string, "or it was not the server's own DNS"
    assert laptop.run("ping -c1 -W5 schoolserver").rc == 0, "old clients ping before they back up"

    said = child("register")
    journey.serial = said["serial"]
    assert re.fullmatch(r"[A-Z]{3}\d{8}", journey.serial)
    assert said["backup_url"] == f"{journey.serial}@schoolserver:backup"
    assert server.file(tree(journey)).is_directory
    assert json.loads(server.file(f"{tree(journey)}/account.json").content_string)["nick"] == "Jim"
    seen(f"{tree(journey)} is there; Sugar's settings hold {said['backup_url']}")


def test_3_permission_is_given_to_the_laptop_and_to_no_stranger(child: Run, journey: Journey, seen: Seen) -> None:
    """Permission is given to the laptop and to no stranger."""
    given = child("browse", f"{SITE}/backup/1/available/{journey.serial}")
    assert (given["status"], given["body"]) == (200, "")
    assert given["url"] == f"{SITE}/backup/1/available/{journey.serial}", "an old client follows no redirect"
    refused = child("browse", f"{SITE}/backup/1/available/QQQ00000000")
    assert refused["status"] == 403
    seen(f"{journey.serial}: 200, empty; QQQ00000000: 403")


def test_4_an_old_clients_backup_becomes_a_snapshot(
    child: Run, laptop: Host, server: Host, journey: Journey, seen: Seen
) -> None:
    """An old client's backup becomes a snapshot."""
    runs = child("back_up")
    asked = [PUSH.format(name) for name in ("datastore-current", "power-logs", "documents")]
    assert [run["asked"] for run in runs] == [*asked, FLAG.format(journey.serial)]
    assert [run["exit"] for run in runs] == [0, 0, 0, 0]

    journey.stamps = new_stamps(server, journey)
    assert len(journey.stamps) == 1, "one run, one snapshot"
    snapshot = f"{tree(journey)}/datastore/{journey.stamps[0]}"
    assert sums(server, snapshot) == sums(laptop, JOURNAL)
    assert (server.file(snapshot).user, server.file(snapshot).mode) == ("root", 0o755)
    assert server.check_output("cat %s/documents/letter.txt %s/power-logs/pwr-1.csv", tree(journey), tree(journey))
    seen(f"four commands, the flag last; datastore-latest → datastore/{journey.stamps[0]}, all 40 documents in it")


def test_5_the_second_run_leaves_the_first_as_it_was(
    child: Run, laptop: Host, server: Host, journey: Journey, seen: Seen
) -> None:
    """The second run leaves the first as it was; what left is a keepsake."""
    first = f"{tree(journey)}/datastore/{journey.stamps[0]}"
    before = everything(server, first)
    assert len(before) > 1000, "or the comparison means nothing"
    child("change_document", journey.uids[CHANGED], "oops")
    child("delete_documents", journey.uids[RESTORED], journey.uids[LEFT_TO_FIND])
    journey.second = child("list_documents")
    child("back_up")

    journey.stamps = new_stamps(server, journey)
    assert len(journey.stamps) == 2
    assert sums(server, f"{tree(journey)}/datastore/{journey.stamps[1]}") == sums(laptop, JOURNAL)
    assert everything(server, first) == before
    for title in (RESTORED, LEFT_TO_FIND):
        uid = journey.uids[title]
        keepsake = f"{tree(journey)}/keepsakes/{uid}/{journey.stamps[0]}"
        assert server.check_output("diff -r %s %s", keepsake, f"{first}/{uid[:2]}/{uid}") == ""
        assert server.check_output("cat %s/metadata/title", keepsake) == title
    journey.deleted_title = LEFT_TO_FIND
    seen(f"datastore-latest → datastore/{journey.stamps[1]}")
    seen(f"the first is unchanged ({len(before)} lines of names, modes, owners, times, SHA-256)")
    seen(f"the one in Nepali and “{LEFT_TO_FIND}” are keepsakes")


def test_6_what_was_lost_by_mistake_comes_back_from_the_journal_page(child: Run, journey: Journey, seen: Seen) -> None:
    """What was lost by mistake comes back from the Journal page."""
    ticket = child("ask_server", "xs", "ticket")
    assert ticket["exit"] == 0, ticket["err"]
    link = ticket["out"].strip()
    assert re.fullmatch(rf"{SITE}/journal/open/[A-Za-z0-9_-]{{20,}}", link), link
    page = child("browse", link)
    assert page["status"] == 200
    assert child("browse", link)["status"] >= 400, "a ticket opens the page once"

    listed = {item.attributes["uid"]: item for item in items(page["body"], "document")}
    assert set(listed) == set(journey.first)
    gone = {uid for uid, item in listed.items() if item.attributes["gone"] == "yes"}
    assert gone == {journey.uids[RESTORED], journey.uids[LEFT_TO_FIND]}
    assert RESTORED in listed[journey.uids[RESTORED]].text

    deleted = versions(child, page, journey.uids[RESTORED])
    assert [version.attributes["stamp"] for version in deleted] == journey.stamps[:1]
    changed = versions(child, page, journey.uids[CHANGED])
    assert [version.attributes["stamp"] for version in changed] == journey.stamps[::-1], "newest first"
    # The deleted one twice: Sugar keeps a table of identical files, and a second click must not upset it.
    for title, version in ((RESTORED, deleted[0]), (RESTORED, deleted[0]), (CHANGED, changed[1])):
        uid = child("install_bundle", download(child, page, version))["uid"]
        assert child("list_documents")[uid] == journey.first[journey.uids[title]], "as it was"
    seen(f"{len(listed)} documents on the page, {len(gone)} deleted")
    seen(f"Sugar installed the one in Nepali and the older “{CHANGED}”: title, data, preview, activity as they were")


def test_7_a_reflashed_laptop_gets_its_whole_journal_back(child: Run, journey: Journey, seen: Seen) -> None:
    """A reflashed laptop gets its whole Journal back."""
    child("wipe_journal")
    fetched = child("fetch_journal")
    assert fetched["asked"] == PULL
    assert child("list_documents") == journey.second, "read from the disk while Sugar builds its index"
    assert child("list_documents") == journey.second, "and from the index; what Sugar cannot read it deletes"
    seen(f"datastore-latest/ fetched through the jail; Sugar finds all {len(journey.second)} documents as they were")


def test_8_the_laptops_key_opens_no_shell(child: Run, seen: Seen) -> None:
    """The laptop's key opens no shell."""
    for command in ((), ("id",), ("rsync --version; id",)):
        refused = child("ask_server", *command)
        assert refused["exit"] == 126
        assert refused["out"] == ""
        assert len(refused["err"].splitlines()) == 1, "one line says why"
    seen(refused["err"].strip())


def tree(journey: Journey) -> str:
    """Return the laptop's directory on the server."""
    return f"/library/users/{journey.serial}"


def new_stamps(server: Host, journey: Journey) -> list[str]:
    """Wait until there is one snapshot more than the journey knows; return all, oldest first."""

    def stamps() -> list[str]:
        return str(server.check_output("ls %s/datastore", tree(journey))).split()

    wait_until(lambda: len(stamps()) > len(journey.stamps), "a new snapshot")
    assert server.check_output("readlink %s/datastore-latest", tree(journey)) == f"datastore/{stamps()[-1]}"
    return stamps()


def sums(host: Host, datastore: str) -> str:
    """Return SHA-256 and name of every file of every document; without what Sugar works out in its own time."""
    files = "find ?? -type f ! -name checksum -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"
    return str(host.check_output(f"cd %s && {files}", datastore))


def everything(host: Host, directory: str) -> list[str]:
    """Return all there is to know of a directory: each name with type, mode, owner, time, size, target, SHA-256.

    Without Sugar's two caches: in a snapshot btrfs shows an empty place for each, dated whenever one looks.
    """
    skip = r"\( -path ./index -o -path ./checksums \) -prune -o"
    names = rf"find . {skip} -printf '%%P %%y %%m %%U:%%G %%T@ %%s %%l\n' | LC_ALL=C sort"
    content = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"
    return str(host.check_output(f"cd %s && {names} && {content}", directory)).splitlines()


def versions(child: Run, page: dict[str, Any], uid: str) -> list[Item]:
    """Open the page of the document `uid` and return its versions."""
    shown = child("browse", urljoin(page["url"], f"/journal/document/{uid}"))
    assert shown["status"] == 200
    return items(shown["body"], "version")


def download(child: Run, page: dict[str, Any], version: Item) -> str:
    """Download the bundle of `version` as Browse does; return the file on the laptop."""
    link = urljoin(page["url"], next(link for link in version.links if link.endswith(".xoj")))
    name = urlsplit(link).path.rsplit("/", 1)[-1]
    assert re.fullmatch(r"[\x21-\x7e]+\.xoj", name), "ASCII, or old Browses choke"
    answer = child("browse", link, f"/home/olpc/{name}")
    assert answer["status"] == 200
    assert answer["headers"]["content-type"] == "application/vnd.olpc-journal-entry"
    assert int(answer["headers"]["content-length"]) == answer["bytes"]
    return f"/home/olpc/{name}"
