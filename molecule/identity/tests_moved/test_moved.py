# SPDX-License-Identifier: GPL-3.0-or-later
"""The library was put into a newly deployed server: who is who, keys, approvals and history are there, unchanged."""

from __future__ import annotations

from server import Server
from small_school import School, assert_served


def test_who_is_who_is_what_it_was(server: Server, identity_before: list[str]) -> None:
    assert server.identity() == identity_before


def test_everybody_is_served_as_before(server: Server, school: School) -> None:
    assert_served(school, server)


def test_they_register_there_again_and_nothing_changes(server: Server, school: School) -> None:
    before = server.identity(times=True)
    for laptop in (school.maya_before, school.maya, school.binod_before, school.binod, school.eve, school.ravi):
        assert laptop.register()["success"] == "OK"
    assert server.identity(times=True) == before


def test_what_happened_there_can_be_taken_back_here(server: Server, school: School) -> None:
    server.xs("laptop", "separate", school.maya.serial)
    assert school.maya.history() == {school.maya.serial: server.stamps(school.maya.serial)}
    newest = f"trees/{school.maya_before.serial}/datastore/{server.stamps(school.maya_before.serial)[-1]}/"
    assert "is no tree of this laptop's child" in school.maya.refused(newest)
    server.xs("laptop", "retire", school.sita.serial, "--undo")
    assert school.sita.read("datastore-latest/") == school.sita.backed_up
