# SPDX-License-Identifier: GPL-3.0-or-later
"""A person has a keepsake removed for ever; and `xs keepsake`, which says so."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import crashing
import school
from laptops import JIM, dsa, message
from schoolserver import (
    audit,
    catalog,
    catalog_rebuild,
    cli,
    cli_keepsake,
    cli_restore,
    engines,
    keepsake_removal,
    keepsakes,
    paths,
    pins,
    registrar,
    restore,
    snapshot,
    timeline,
)  # fmt: skip
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from schoolserver.house import House
from standing import make_house

MARIA = Who("maria", "172.18.0.20")
ONE, TWO, THREE = school.uid(1), school.uid(2), school.uid(3)
S0, S2 = "2026-11-23T101500Z", "2026-11-25T101500Z"


def make(top: Path) -> House:
    """Jim's tree: ONE left twice, TWO once, THREE is there; the snapshots that held ONE and TWO are rotated away."""
    here = make_house(top)
    registrar.register(message(JIM, dsa(0)), here)
    tree = here.users / JIM
    incoming = tree / "datastore-current"
    for day, there in enumerate([(ONE, TWO, THREE), (THREE,), (ONE, THREE), (THREE,)]):
        for uid in (ONE, TWO, THREE):
            if uid in there:
                school.write_document(incoming, uid, b"as of day %d" % day, 1_790_000_000 + day)
            elif (incoming / uid[:2] / uid).exists():
                school.remove_document(incoming, uid)
        school.end_run(tree)
        assert snapshot.take(tree, school.day(day), here.state / "catalog.db")
    for stamp in (S0, S2):
        engines.of(tree).remove(tree / "datastore" / stamp)
        catalog.forget(here.state / "catalog.db", tree, stamp)
    assert list(keepsakes.every(tree)) == [(ONE, S0), (ONE, S2), (TWO, S0)]
    return here


@pytest.fixture
def here(any_library: Path) -> House:
    return make(any_library)


def remove(here: House, uid: str, stamp: str | None = None, **how: bool) -> keepsake_removal.Removal:
    return keepsake_removal.remove(here, JIM, uid, stamp, MARIA, catalog_file=here.state / "catalog.db", **how)


def listed(here: House) -> dict[str, list[bytes]]:
    """What the Journal page lists: {uid: the data of its versions, newest first}, each read from where it says."""
    found: dict[str, list[bytes]] = {}
    with closing(catalog.reading(here.state / "catalog.db")) as database:
        for document in timeline.documents(database, [JIM], 0, 100, False):
            for version in timeline.versions(database, [JIM], document.uid):
                with (
                    timeline.opened(here.users, version) as entry,
                    open(f"/proc/self/fd/{entry.descriptor}/data") as file,
                ):
                    found.setdefault(document.uid, []).append(file.read().encode())
    return found


def test_it_goes_from_the_disk_and_from_the_page_and_no_other_does(here: House) -> None:
    assert listed(here) == {
        ONE: [b"as of day 2", b"as of day 0"],
        TWO: [b"as of day 0"],
        THREE: [b"as of day 3", b"as of day 1"],
    }
    removal = remove(here, ONE, S0)
    assert removal.said == f"removed for ever: the document {ONE} as of {S0}; it stays in a keepsake as of {S2}"
    assert list(keepsakes.every(here.users / JIM)) == [(ONE, S2), (TWO, S0)]
    assert listed(here) == {ONE: [b"as of day 2"], TWO: [b"as of day 0"], THREE: [b"as of day 3", b"as of day 1"]}


def test_without_a_stamp_all_keepsakes_of_the_document_go_and_nothing_is_left(here: House) -> None:
    assert remove(here, ONE).said.endswith(f"as of {S0}, {S2}; the tree has no other copy")
    assert sorted(os.listdir(here.users / JIM / "keepsakes")) == [TWO]
    assert ONE not in listed(here)
    assert restore.copies_of(here.users, [JIM], ONE) == []
    before = listed(here)
    catalog_rebuild.rebuild(here.state / "catalog.db", here.users)
    assert listed(here) == before


def test_snapshots_and_pins_are_not_touched_and_named(here: House) -> None:
    tree = here.users / JIM
    school.write_document(tree / "datastore-current", TWO, b"again")
    school.end_run(tree)
    stamp = snapshot.take(tree, school.day(4), here.state / "catalog.db")
    assert stamp
    pinned = pins.add({}, stamp, "before the exhibition", 0, stamp)
    pins.write(tree, pinned)
    before = school.contents(tree / "datastore")
    assert remove(here, TWO).said.endswith(f"; it stays in the pinned snapshot {stamp}")
    assert (school.contents(tree / "datastore"), pins.read(tree)) == (before, pinned)
    assert listed(here)[TWO] == [b"again"]


def test_it_is_on_record_before_it_is_done(here: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(keepsakes, "put_out_of_sight", crash)
    with pytest.raises(KeyboardInterrupt):
        remove(here, TWO)
    (entry,) = [one for one in audit.read(here.audit, [JIM]) if one.who == "maria"]
    assert (entry.where, entry.what) == (
        "172.18.0.20", f"removed for ever: the document {TWO} as of {S0}; the tree has no other copy"
    )  # fmt: skip
    assert (TWO, S0) in keepsakes.every(here.users / JIM)


def test_only_asked_nothing_goes(here: House) -> None:
    before = school.contents(here.users / JIM)
    assert remove(here, ONE, check=True).stamps == (S0, S2)
    assert school.contents(here.users / JIM) == before
    assert [one for one in audit.read(here.audit) if one.who == "maria"] == []


@pytest.mark.parametrize(
    ("tree", "uid", "stamp"),
    [
        (JIM, THREE, None), (JIM, TWO, S2), (JIM, "..", None), (JIM, f"../keepsakes/{ONE}", None), (JIM, ONE, "../x"),
        (JIM, ONE, ""), ("..", ONE, None), (f"../users/{JIM}", ONE, None), ("", ONE, None),
    ],
)  # fmt: skip
def test_what_is_no_keepsake_is_refused(here: House, tree: str, uid: str, stamp: str | None) -> None:
    before = school.contents(here.users)
    with pytest.raises(Refusal, match=r"there is no keepsake of|no tree is called"):
        keepsake_removal.remove(here, tree, uid, stamp, MARIA, catalog_file=here.state / "catalog.db")
    assert school.contents(here.users) == before


def test_a_catalog_that_cannot_be_written_keeps_nothing(here: House, capsys: pytest.CaptureFixture[str]) -> None:
    (here.state / "catalog.db").unlink()
    (here.state / "catalog.db").mkdir()
    remove(here, TWO)
    assert "the catalog is late" in capsys.readouterr().err
    assert (TWO, S0) not in keepsakes.every(here.users / JIM)


def test_killed_at_any_call_it_is_there_or_gone_and_the_next_start_ends_it(any_library: Path) -> None:
    if reason := crashing.missing():
        pytest.skip(reason)
    top = any_library / "top"
    here = House(*(top / name for name in ("users", "state", "extrausers", "keys")))
    tree, wholes = here.users / JIM, []

    def prepare() -> None:
        if top.exists():
            school.clear(top)
        top.mkdir()
        make(top)

    def check() -> None:
        left = set(keepsakes.every(tree))
        for uid, stamp in left:
            assert len(school.contents(tree / "keepsakes" / uid / stamp)) == 6, f"{uid}/{stamp} is not whole"
        if left != {(ONE, S0), (ONE, S2), (TWO, S0)}:
            assert [one.what for one in audit.read(here.audit) if one.who == "maria"]
        snapshot.sweep(here.users, school.day(5), here.state / "catalog.db")
        assert set(keepsakes.every(tree)) == left
        assert not list((tree / "keepsakes").rglob(".*"))
        wholes.append(len(left))
        if len(left) > 1:
            remove(here, ONE)
        catalog.update(here.state / "catalog.db", tree)
        assert sorted(listed(here)) == [TWO, THREE]

    prepare()
    points = crashing.calls(lambda: remove(here, ONE), here.users.parent)
    crashing.crash_at_each(points, prepare, lambda: remove(here, ONE), check)
    assert {1, 2, 3} == set(wholes)


# What a person types.

Xs = Callable[..., tuple[int, str, str]]


@pytest.fixture
def xs(here: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Xs:
    """Runs `xs keepsake` with these words and returns exit code, output and errors."""
    for module in (cli_restore, cli_keepsake):
        monkeypatch.setattr(module, "House", lambda: here)
    monkeypatch.setattr(paths, "USERS", here.users)
    monkeypatch.setattr(paths, "CATALOG", here.state / "catalog.db")

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["xs", "keepsake", *words])
        code = cli.main()
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_list_has_each_keepsake(xs: Xs) -> None:
    code, out, _ = xs("list", JIM)
    assert code == 0
    assert [line.split()[1:3] for line in out.splitlines()[1:]] == [[ONE, S0], [ONE, S2], [TWO, S0]]
    first = json.loads(xs("list", JIM, "--json")[1])["keepsakes"][0]
    assert first == {"tree": JIM, "uid": ONE, "stamp": S0, "bytes": 11, "title": "Story 01"}


def test_without_for_ever_it_only_says_what_would_go(xs: Xs, here: House) -> None:
    code, out, error = xs("remove", JIM, ONE)
    assert (code, out) == (1, "")
    assert error.startswith("xs: nothing is removed yet; with --for-ever: removed for ever: the document")
    assert (ONE, S0) in keepsakes.every(here.users / JIM)


def test_with_for_ever_it_goes(xs: Xs, here: House) -> None:
    assert xs("remove", JIM, ONE, S2, "--for-ever")[0] == 0
    assert list(keepsakes.every(here.users / JIM)) == [(ONE, S0), (TWO, S0)]
    code, _, error = xs("remove", JIM, ONE, S2, "--for-ever")
    assert (code, error) == (1, f"xs: there is no keepsake of '{ONE}' as of '{S2}': see `xs keepsake list`\n")


def test_a_part_of_the_word_is_not_enough(xs: Xs, here: House) -> None:
    with pytest.raises(SystemExit):
        xs("remove", JIM, ONE, "--for")
    assert (ONE, S0) in keepsakes.every(here.users / JIM)
