# SPDX-License-Identifier: GPL-3.0-or-later
"""What the school decides with its settings: who may register, and whether a known serial's new key joins at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import technician
from laptop import Laptop, Laptops, new_serial
from server import Server
from views import assert_apart

LISTED = new_serial()
SETTINGS = "/etc/xs/registration.toml"


@pytest.fixture(scope="module")
def child(laptops: Laptops, server: Server) -> Iterator[Laptop]:
    """A laptop that registered before the school decided anything; afterwards everything is decided as before."""
    server.run(f"cp -p {SETTINGS} {SETTINGS}.before")
    yield laptops("Jim").settled()
    server.run(f"mv {SETTINGS}.before {SETTINGS} && systemctl restart xs-registrar")


@pytest.fixture(scope="module")
def trusting(child: Laptop) -> None:
    """A school that lets in who is on its list, and believes a known serial with its known uuid."""
    settings = {"xs_registration_newcomers": "list", "xs_registration_serials": [child.serial, LISTED]}
    technician.play("playbooks/site.yml", "--tags=xs_registration", xs_rekey="automatic", **settings)


def reflashed(laptops: Laptops, laptop: Laptop, machine: str = "") -> Laptop:
    """Return a laptop with the serial of `laptop`, another key and an empty Journal."""
    return laptops(laptop.nick, serial=laptop.serial, machine=machine)


def test_a_trusting_school_joins_a_known_serial_with_its_known_uuid_at_once(
    laptops: Laptops, server: Server, child: Laptop, trusting: None
) -> None:
    again = reflashed(laptops, child, child.uuid)
    assert again.register()["success"] == "OK"
    assert again.status()["approval"] == "granted"
    again.restore("datastore-latest/")
    assert again.journal() == child.backed_up
    again.write("After the repair")
    assert again.back_up().bytes < 60_000, "only the new one"
    assert server.lost(again.backed_up, child.serial) == [], "it writes its old tree"
    assert set(again.page().documents()) == set(again.backed_up)
    assert server.account(f"{child.serial}.2")["approvals"][0]["by"] == "xs_rekey: automatic"
    server.xs("laptop", "separate", child.serial)
    assert again.status()["approval"] == "pending"


def test_and_with_another_uuid_keeps_it_apart(laptops: Laptops, server: Server, child: Laptop, trusting: None) -> None:
    stranger = reflashed(laptops, child).settled()
    assert_apart(stranger, f"{child.serial}.3", child, server)
    assert stranger.status()["approval"] == "pending"


def test_who_is_not_on_the_list_is_refused_in_words(
    laptops: Laptops, server: Server, child: Laptop, trusting: None
) -> None:
    stranger = laptops("Eve")
    answer = stranger.register()
    assert answer["success"] == "ERR"
    assert f"{stranger.serial} is not on this school's list of laptops: ask" in answer["error"]
    assert answer["error"] in server.xs("laptop", "list")
    assert stranger.permission() == (403, "unknown")
    assert laptops("Ann", serial=LISTED).register()["success"] == "OK"
    assert child.register()["success"] == "OK"


def test_a_closed_school_takes_nobody_new_and_serves_who_is_there(
    laptops: Laptops, server: Server, child: Laptop
) -> None:
    server.run(f"printf 'newcomers = \"closed\"\\n' >{SETTINGS} && systemctl restart xs-registrar")
    stranger = laptops("Eve")
    answer = stranger.register()
    assert answer["success"] == "ERR"
    assert "takes no new laptops now: ask the school's technician" in answer["error"]
    assert answer["error"] in server.xs("laptop", "list")
    assert reflashed(laptops, child, child.uuid).register() == answer
    assert child.register()["success"] == "OK"
    child.back_up()
    technician.xs_laptop(serial=stranger.serial, uuid=stranger.uuid, pubkey=stranger.pubkey)
    assert stranger.register()["success"] == "OK", "who the technician adds is not new"
    stranger.write_many(2)
    stranger.back_up()
    assert stranger.serial not in server.xs("laptop", "list").partition("Refused lately:")[2]
