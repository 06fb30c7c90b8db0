# SPDX-License-Identifier: GPL-3.0-or-later
"""The same child: before a person says so, after it, and after it was taken back. Through all three faces."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

import technician
from laptop import Laptop, Laptops
from server import Server
from views import assert_apart, assert_goes_on

REFLASHED, REPLACED = "reflashed", "replaced"
DOCUMENTS, SIZE = 20, 50_000  # of the old laptop: a megabyte


@dataclass(frozen=True)
class Face:
    """One way for a person to say that `new` is the same child as `old`, both serials, and to take it back."""

    join: Callable[[Server, str, str], object]
    part: Callable[[Server, str], object]


def _approve(server: Server, new: str, old: str) -> None:
    server.xs("laptop", "approve", new, *([] if new == old else ["--as", old]))


FACES = {
    "xs laptop": Face(_approve, lambda server, new: server.xs("laptop", "separate", new)),
    "xs_laptop": Face(
        lambda _, new, old: technician.xs_laptop(serial=new, joins=old),
        lambda _, new: technician.xs_laptop(serial=new, joins=""),
    ),
    "replace_laptop.yml": Face(
        lambda _, new, old: technician.play("playbooks/replace_laptop.yml", new=new, old=old),
        lambda _, new: technician.play("playbooks/replace_laptop.yml", new=new, undo=True),
    ),
}


def second_laptop(laptops: Laptops, old: Laptop, kind: str) -> tuple[Laptop, str]:
    """Return the laptop with which the child of `old` goes on, backed up once, and the tree that this made."""
    if kind == REPLACED:
        new = laptops("Jim").settled()
        return new, new.serial
    return laptops("Jim", serial=old.serial, machine=old.uuid).settled(), f"{old.serial}.2"


@pytest.mark.parametrize("kind", [REFLASHED, REPLACED])
def test_before_a_person_says_same_child_each_sees_its_own(laptops: Laptops, server: Server, kind: str) -> None:
    old = laptops("Jim").settled()
    new, tree = second_laptop(laptops, old, kind)
    assert new.status()["approval"] == ("pending" if kind == REFLASHED else "none")
    assert_apart(new, tree, old, server)
    assert_goes_on(old, server)
    assert_goes_on(new, server, tree)


@pytest.mark.parametrize("face", FACES.values(), ids=FACES)
@pytest.mark.parametrize("kind", [REFLASHED, REPLACED])
def test_after_it_they_are_one_and_after_that_is_taken_back_all_is_as_before(
    laptops: Laptops, server: Server, kind: str, face: Face
) -> None:
    old = laptops("Jim").settled(DOCUMENTS)
    new, tree = second_laptop(laptops, old, kind)
    before, at_first = server.identity(), new.backed_up.copy()

    # After: one timeline, and everything can be read back.
    face.join(server, new.serial, old.serial)
    told = json.loads(server.run("tail -n 1 /library/audit.jsonl"))
    assert (told["tree"], told["who"].split()[0]) == (tree, "root")
    for laptop in (old, new):
        assert set(laptop.page().documents()) == set(old.backed_up) | set(at_first)
        assert laptop.status()["approval"] == "granted"
        assert laptop.history() == {one: server.stamps(one) for one in (old.serial, tree)}
    new.restore(f"trees/{old.serial}/datastore/{server.stamps(old.serial)[-1]}/")
    assert new.journal() == {**old.backed_up, **at_first}
    new.write("After the approval", SIZE)
    sent = new.back_up()
    assert SIZE < sent.bytes < SIZE * 1.2, f"only the new one, and not the {DOCUMENTS} that are on the server"
    old.write("On the old laptop")
    old.back_up()
    assert server.lost({**old.backed_up, **new.backed_up}, old.serial, tree) == [], "nothing of either side is lost"
    writes = old.serial if kind == REFLASHED else tree
    assert server.laptops()[tree]["writes"] == writes
    assert set(new.page().documents()) == set(old.backed_up) | set(new.backed_up)

    # After the undo: as before. What was written meanwhile stays where it was written.
    face.part(server, new.serial)
    assert server.identity() == before
    mine = at_first if kind == REFLASHED else new.backed_up
    assert new.history() == {tree: server.stamps(tree)}
    assert new.read("datastore-latest/") == mine
    page = new.page()
    assert set(page.documents()) == set(mine)
    assert {page.status_of(uid) for uid in old.backed_up.keys() - mine.keys()} == {404}
    for laptop, one in ((new, old.serial), (old, tree)):
        newest = f"trees/{one}/datastore/{server.stamps(one)[-1]}/"
        assert f"{one} is no tree of this laptop's child" in laptop.refused(newest)
    assert old.history() == {old.serial: server.stamps(old.serial)}
    assert server.lost({**old.backed_up, **new.backed_up}, old.serial, tree) == []


def test_a_reflashed_laptop_that_restores_nothing_loses_nothing(laptops: Laptops, server: Server) -> None:
    old = laptops("Jim").settled(DOCUMENTS)
    new, tree = second_laptop(laptops, old, REFLASHED)
    server.xs("laptop", "approve", new.serial)
    new.write("The first after the repair")
    new.back_up()
    assert new.history() == {old.serial: server.stamps(old.serial), tree: server.stamps(tree)}
    assert new.read("datastore-latest/") == new.journal()
    assert server.lost({**old.backed_up, **new.backed_up}, old.serial, tree) == []
    listed = new.page().documents()
    assert {uid for uid, item in listed.items() if item.attributes["gone"] == "yes"} == set(old.backed_up)
    assert set(listed) == set(old.backed_up) | set(new.backed_up)


def test_an_approval_of_one_of_two_new_keys_shuts_the_other_out(laptops: Laptops, server: Server) -> None:
    child = laptops("Jim").settled()
    stranger, _ = second_laptop(laptops, child, REFLASHED)
    reflashed = laptops("Jim", serial=child.serial, machine=child.uuid, kind="ed25519").settled()
    unclear = server.refusal("laptop", "approve", child.serial)
    assert f"{child.serial}.2 or {child.serial}.3" in unclear
    server.xs("laptop", "approve", f"{child.serial}.3")
    assert set(reflashed.page().documents()) == set(child.backed_up) | set(reflashed.backed_up)
    assert_apart(stranger, f"{child.serial}.2", child, server)
    newest = f"trees/{child.serial}.3/datastore/{server.stamps(f'{child.serial}.3')[-1]}/"
    assert f"{child.serial}.3 is no tree of this laptop's child" in stranger.refused(newest)
