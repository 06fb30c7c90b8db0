# SPDX-License-Identifier: GPL-3.0-or-later
"""What a child sees: the Journal goes to the school server and comes back, in Sugar 0.120's own desktop, by clicks.

The steps build on each other, in this order.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from sugar_laptop import Laptop

SAVE, GET_BACK = "Save the contents of your Journal", "Restore the contents of your Journal"
A_PART = r"\d+ of 40 documents, [1-9][\d.]* MB of 21 MB"  # of the 40, one has 20 MB
OFFER = "/home/olpc/.sugar/default/xo-client/offer.json"


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """What a step tells the next ones: the Journal as list_documents.py says it, and the laptop's login name."""
    return {}


def test_1_the_menu_registers_the_laptop(pc12: Laptop, package: Path, known: dict[str, Any]) -> None:
    """The child's menu registers the laptop."""
    pc12.install(package)
    pc12.child("first_start", "Jim")
    pc12.child("create_documents")
    known["journal"] = pc12.child("list_documents")
    pc12.start_sugar()
    pc12.opens_menu()
    pc12.clicks("Register")
    pc12.sees("Registration Successful")
    pc12.clicks("Ok")
    known["login"] = pc12.login()


def test_2_the_control_panel_saves_the_journal(pc12: Laptop, server: Host, known: dict[str, Any]) -> None:
    """The control panel saves the Journal on the school server."""
    pc12.opens_backup(SAVE)
    pc12.sees("Your Journal is on the school server now.", 60)
    pc12.picture("1-saved")
    latest = f"/library/users/{known['login']}/datastore-latest"
    assert server.check_output(f"ls -d {latest}/??/* | wc -l") == "40"


def test_3_after_a_reflash_the_documents_are_offered(pc12: Laptop, server: Host, known: dict[str, Any]) -> None:
    """After a reflash, and once a teacher has said who it is, the documents are offered without being asked for."""
    pc12.reflash()
    pc12.child("first_start", "Jim")
    pc12.as_child("xo-backup register")
    for tree in server.check_output(f"ls -d /library/users/{known['login']}.*").split():
        server.check_output(f"xs laptop approve {tree.rpartition('/')[2]}")
    pc12.start_sugar()
    pc12.as_child("xo-backup now --progress none", ends=1)
    pc12.sees("The school server has 40 documents of yours from ")
    pc12.picture("2-offered")


def test_4_a_restore_shows_how_far_it_is_and_can_be_cancelled(pc12: Laptop, server: Host) -> None:
    """A restore shows how far it is, in documents and bytes; cancelled, it leaves the Journal as it was."""
    before = pc12.child("list_documents")
    pc12.slow_network(address(server))
    pc12.clicks("Get them back")
    pc12.sees("Your documents come from the school server…", 30)
    pc12.sees(A_PART, 60)
    pc12.picture("3-under-way")
    pc12.clicks("Cancel")
    pc12.sees("It was cancelled. Your Journal is as it was.")
    pc12.picture("4-cancelled")
    assert pc12.child("list_documents") == before
    assert pc12.host.file(OFFER).exists, "it is offered again"


def test_5_what_a_broken_network_stopped_can_be_tried_again(pc12: Laptop, server: Host, known: dict[str, Any]) -> None:
    """A broken network is told in a sentence; trying again brings back everything."""
    pc12.clicks("Try again")
    pc12.sees(A_PART, 60)
    pc12.broken_network(address(server))
    pc12.sees("The connection to the school server broke off.", 60)
    pc12.picture("5-broken-off")
    pc12.good_network()
    pc12.clicks("Try again")
    pc12.sees("40 documents are back in your Journal.", 60)
    pc12.picture("6-back")
    assert pc12.child("list_documents") == known["journal"]
    assert not pc12.host.file(OFFER).exists, "it was answered"


def test_6_the_journal_shows_them_at_once(pc12: Laptop) -> None:
    """The Journal shows the documents at once, and Sugar need not start again."""
    pc12.clicks("Close")
    pc12.presses("F5")
    pc12.sees(r"\w+ \d+$")
    pc12.picture("7-journal")
    pc12.searches("Turtle house")
    pc12.sees("Turtle house")
    pc12.presses("F3")


def test_7_only_what_is_missing_comes_back(pc12: Laptop, known: dict[str, Any]) -> None:
    """The child chooses what comes back; what the Journal has stays as it is."""
    *gone, changed = sorted(known["journal"])[:4]
    pc12.child("delete_documents", *gone)
    pc12.child("change_document", changed, "My own work")
    pc12.opens_backup(GET_BACK)
    pc12.sees("What do you want back?", 30)
    pc12.picture("8-choices")
    pc12.clicks("Only what my Journal does not have", "Get them back")
    pc12.sees("3 documents are back in your Journal.", 60)
    pc12.picture("9-missing")
    found = pc12.child("list_documents")
    assert {uid: found[uid] for uid in gone} == {uid: known["journal"][uid] for uid in gone}
    assert found[changed]["properties"]["title"] == "My own work"
    assert set(found) == set(known["journal"])


def test_8_open_activities_are_to_be_stopped_first(pc12: Laptop) -> None:
    """A restore would take the datastore from activities that are open: they are to be stopped first."""
    pc12.clicks("Close", "Ok")
    pc12.presses("Escape")
    pc12.starts_browse()
    pc12.presses("F3")
    pc12.opens_backup(GET_BACK)
    pc12.sees("What do you want back?", 30)
    pc12.clicks("Get them back")
    pc12.sees("Stop all your activities first.")


def address(host: Host) -> str:
    """Return the server's address."""
    return str(json.loads(host.check_output("ip -json -4 address show dev eth0"))[0]["addr_info"][0]["local"])
