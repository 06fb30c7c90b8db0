# SPDX-License-Identifier: GPL-3.0-or-later
"""What a laptop sees of its own and of others' documents."""

from __future__ import annotations

from laptop import Laptop
from server import Server


def assert_apart(stranger: Laptop, tree: str, child: Laptop, server: Server) -> None:
    """Fail unless `stranger`, who writes `tree`, sees its own documents and nothing of `child`."""
    (stamp,) = server.stamps(child.serial)[-1:]
    own = server.stamps(tree)
    assert stranger.history() == {tree: own}
    assert stranger.read("datastore-latest/") == stranger.journal()
    if stamp not in own:
        assert f"the school server has no datastore/{stamp} of this laptop" in stranger.refused(f"datastore/{stamp}/")
    elsewhere = f"trees/{child.serial}/datastore/{stamp}/"
    assert f"{child.serial} is no tree of this laptop's child" in stranger.refused(elsewhere)
    page = stranger.page()
    assert set(page.documents()) == set(stranger.backed_up)
    assert {page.status_of(uid) for uid in child.backed_up} == {404}


def assert_goes_on(child: Laptop, server: Server, tree: str = "") -> None:
    """Fail unless `child` still backs up into `tree`, else that of its serial, gets it back, and sees only its own."""
    child.write("Another story")
    child.back_up()
    assert child.read("datastore-latest/") == child.journal()
    assert server.lost(child.backed_up, tree or child.serial) == []
    assert set(child.page().documents()) == set(child.backed_up)
