# SPDX-License-Identifier: GPL-3.0-or-later
"""A small school in which all has happened to laptops that can. Whatever befalls the server, it is the same after.

Maya    had her laptop replaced: a person said that both are hers
Binod   had his reflashed: a person said that the new key is his, too
Eve     claims Binod's serial and waits for a person
Sita    gave hers back: it is in store
Asha    had one before, which Ravi has now
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from laptop import Laptop, Laptops, new_serial
from server import Server
from views import assert_apart


@dataclass(frozen=True)
class School:
    """Its laptops."""

    maya_before: Laptop
    maya: Laptop
    binod_before: Laptop
    binod: Laptop
    eve: Laptop
    sita: Laptop
    asha: Laptop
    ravi: Laptop


def made(laptops: Laptops, server: Server) -> School:
    """Return the school after all that."""
    serial, handed = new_serial(), new_serial()
    school = School(
        maya_before=laptops("Maya", name="maya_before").settled(),
        maya=laptops("Maya", name="maya", kind="rsa").settled(),
        binod_before=laptops("Binod", name="binod_before", serial=serial).settled(),
        binod=laptops("Binod", name="binod", serial=serial, kind="ed25519").settled(),
        eve=laptops("Eve", name="eve", serial=serial).settled(),
        sita=laptops("Sita", name="sita").settled(),
        asha=laptops("Asha", name="asha", serial=handed).settled(),
        ravi=laptops("Ravi", name="ravi", serial=handed),
    )
    server.xs("laptop", "approve", school.maya.serial, "--as", school.maya_before.serial)
    server.xs("laptop", "approve", f"{serial}.2")
    server.xs("laptop", "retire", school.sita.serial)
    server.xs("laptop", "hand-on", handed)
    for name in ("owner.key", "owner.key.pub"):  # the same machine: what Asha had on it is gone, its key is not
        (school.ravi.home / name).write_bytes((school.asha.home / name).read_bytes())
    school.ravi.settled()
    school.maya.restore(f"trees/{school.maya_before.serial}/datastore/{server.stamps(school.maya_before.serial)[-1]}/")
    school.binod.restore("datastore-latest/")
    return school


def found(homes: Path, server: str) -> School:
    """Return the school again, out of the directory `homes`, now with its server at that address."""
    laptops = {name: Laptop.found(homes / name) for name in School.__annotations__}
    for laptop in laptops.values():
        laptop.server = server
    return School(**laptops)


def assert_served(school: School, server: Server) -> None:
    """Fail unless everybody sees what is theirs, and nothing else, and backs up as ever."""
    for laptop, before, tree in (
        (school.maya, school.maya_before, school.maya.serial),
        (school.binod, school.binod_before, f"{school.binod.serial}.2"),
    ):
        laptop.write("One more story")
        assert laptop.back_up().bytes < 100_000, "what it got back is not sent again"
        assert laptop.history() == {one: server.stamps(one) for one in (before.serial, tree)}
        assert set(laptop.page().documents()) == set(before.backed_up) | set(laptop.backed_up)
        assert laptop.read("datastore-latest/") == laptop.journal()
        assert server.lost({**before.backed_up, **laptop.backed_up}, before.serial, tree) == []
    assert server.laptops()[f"{school.binod.serial}.2"]["writes"] == school.binod.serial
    assert_apart(school.eve, f"{school.binod.serial}.3", school.binod_before, server)
    assert_apart(school.ravi, f"{school.asha.serial}.2", school.asha, server)
    assert server.lost(school.asha.backed_up, school.asha.serial) == []
    assert school.sita.permission() == (403, "retired")
    assert "Permission denied (publickey" in school.sita.ask("xs status").words()
    assert school.sita.register()["success"] == "ERR"
    assert server.lost(school.sita.backed_up, school.sita.serial) == []
