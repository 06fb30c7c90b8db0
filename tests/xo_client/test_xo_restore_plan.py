# SPDX-License-Identifier: GPL-3.0-or-later
"""Which documents come back, from where, and whether they fit."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from server_side import LATER, OTHER, OWN, STAMP, uid_of
from xo_client import restore_plan
from xo_client.journal import UID
from xo_client.restore_plan import BEST, LATEST, RESERVE, Document, Files, Source
from xo_client.rsync import File

SOURCE = Source(OWN, STAMP, f"datastore/{STAMP}")
NAMES = ["data", "metadata/title", "metadata/timestamp", "metadata/filesize", "metadata/preview"]
UIDS = some.integers(0, 8).map(uid_of)
FILES = some.dictionaries(
    some.sampled_from(NAMES), some.tuples(some.integers(0, 3000), some.integers(0, 5)), min_size=1
)
JOURNALS = some.dictionaries(UIDS, FILES)


def wanted_of(journal: dict[str, dict[str, tuple[int, int]]]) -> dict[str, Document]:
    return {uid: Document(uid, SOURCE, files) for uid, files in journal.items()}


def tree(name: str, *stamps: str, best: str | None = None) -> dict[str, Any]:
    return {"tree": name, "snapshots": [{"stamp": stamp} for stamp in stamps], "best": best, "why": ""}


def test_the_best_of_each_tree_the_own_first_then_the_newest() -> None:
    old = "SHC00000002"
    history = {
        "trees": [tree(OWN, STAMP, LATER, best=STAMP), tree(old, STAMP, best=STAMP), tree(OTHER, LATER, best=LATER)]
    }
    found = restore_plan.sources(history, BEST)
    assert [source.path for source in found] == [
        f"datastore/{STAMP}",
        f"trees/{OTHER}/datastore/{LATER}",
        f"trees/{old}/datastore/{STAMP}",
    ]
    assert restore_plan.sources(history, LATEST)[0].stamp == LATER
    assert [source.stamp for source in restore_plan.sources(history, "2026-11-22")] == [STAMP, STAMP]
    assert restore_plan.sources(history, "2026-11-19") == []


def test_a_best_that_is_not_there_is_none() -> None:
    assert restore_plan.sources({"trees": [tree(OWN, STAMP, best="../../etc")]}, BEST)[0].stamp == STAMP
    assert restore_plan.sources({"trees": [tree("../etc", STAMP, best=STAMP), tree(OWN, best=STAMP)]}, BEST) == []


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text() | some.sampled_from([STAMP, OWN]),
    lambda inner: (
        some.lists(inner) | some.dictionaries(some.sampled_from(["trees", "tree", "snapshots", "stamp", "best"]), inner)
    ),
)


@given(some.dictionaries(some.just("trees"), JSON), some.sampled_from([BEST, LATEST, "2026-11-22"]))
def test_no_answer_of_a_server_is_too_strange(history: dict[str, Any], when: str) -> None:
    for source in restore_plan.sources(history, when):
        assert source.stamp == STAMP
        assert "/" not in source.tree


@given(JOURNALS, JOURNALS, some.booleans())
def test_each_document_is_decided_once_and_todays_own_are_left_alone(
    wanted: dict[str, dict[str, tuple[int, int]]], today: dict[str, dict[str, tuple[int, int]]], missing_only: bool
) -> None:
    plan = restore_plan.plan(wanted_of(wanted), today, missing_only=missing_only)
    fetched = [document.uid for document in plan.fetch]
    assert set(fetched) <= set(wanted)
    assert plan.differing == set(fetched) & set(today)
    assert set(wanted) - set(today) <= set(fetched)
    if missing_only:
        assert not plan.differing
    else:
        assert len(fetched) + plan.equal == len(wanted)


@given(JOURNALS, JOURNALS)
def test_after_it_is_done_nothing_is_to_do(
    wanted: dict[str, dict[str, tuple[int, int]]], today: dict[str, dict[str, tuple[int, int]]]
) -> None:
    documents = wanted_of(wanted)
    plan = restore_plan.plan(documents, today, missing_only=False)
    after: dict[str, Files] = {**today, **{document.uid: document.files for document in plan.fetch}}
    # Sugar makes its index anew, and adds what an entry lacks.
    after = {uid: {"metadata/timestamp": (10, 99), "metadata/uid": (36, 99), **files} for uid, files in after.items()}
    assert restore_plan.plan(documents, after, missing_only=False) == restore_plan.Plan([], set(), len(wanted))


def test_a_changed_title_is_another_version_and_a_checksum_is_none() -> None:
    files = {"data": (5, 10), "metadata/title": (7, 10)}
    assert restore_plan.is_same(files, files)
    assert not restore_plan.is_same(files, {**files, "metadata/title": (7, 11)})
    assert not restore_plan.is_same(files, {**files, "metadata/tags": (7, 10)})
    assert not restore_plan.is_same(files, {"data": (5, 10)})
    assert not restore_plan.is_part("metadata/checksum")


@given(JOURNALS, some.integers(0, 60_000), some.sampled_from([512, 4096]))
def test_the_newest_that_fit_and_none_more_would(
    wanted: dict[str, dict[str, tuple[int, int]]], free: int, block: int
) -> None:
    fetch = [wanted_of(wanted)[uid] for uid in sorted(wanted)]
    fits = restore_plan.fitting(fetch, RESERVE + free, block, {})
    rest = free - sum(document.room(block) for document in fits)
    assert rest >= 0
    assert fits == [document for document in fetch if document in fits]
    for document in fetch:
        if document not in fits:
            newer = sum(
                other.room(block) for other in fits if (other.newest, other.uid) > (document.newest, document.uid)
            )
            assert free - newer < document.room(block)


def test_what_is_there_already_needs_no_room() -> None:
    document = Document(uid_of(1), SOURCE, {"data": (1_000_000, 1)})
    assert restore_plan.fitting([document], RESERVE + 500_000, 4096, {}) == []
    assert restore_plan.fitting([document], RESERVE + 500_000, 4096, {document.uid: 900_000}) == [document]
    assert restore_plan.fitting([document], 1000, 4096, {}) == []


def test_the_first_tree_that_has_a_document_gives_it() -> None:
    other = Source(OTHER, LATER, "")
    first, second = Document(uid_of(1), SOURCE, {}), Document(uid_of(1), other, {})
    only = Document(uid_of(2), other, {})
    assert restore_plan.union([{first.uid: first}, {second.uid: second, only.uid: only}]) == {
        first.uid: first,
        only.uid: only,
    }


PARTS = some.sampled_from(
    ["data", "metadata", "title", ".title", "..", "", "store", "version", "ab", uid_of(1), uid_of(1)[:2], "\udcff"]
)
PATHS = some.lists(PARTS, min_size=1, max_size=5).map("/".join)
LISTINGS = some.lists(some.builds(File, PATHS, some.sampled_from("-dlps"), some.integers(0, 10**12), some.integers()))


@given(LISTINGS)
def test_no_listing_is_too_strange(listing: list[File]) -> None:
    found, left = restore_plan.documents(SOURCE, listing)
    for uid, document in found.items():
        assert UID.fullmatch(uid)
        assert document.files
        assert document.old or all(restore_plan.is_part(name) for name in document.files)
        assert document.room(4096) >= document.bytes
    assert all(one.why for one in left)


def test_what_is_named_to_people_is_text() -> None:
    odd = "\udcff\x1b]0;" + "x" * 31
    files = [
        File("ab", "d", 0, 0), File(f"ab/{odd}", "d", 0, 0),
        File(f"{uid_of(1)[:2]}/{uid_of(1)}/metadata/\udcff\x1b", "-", 10**6, 0),
    ]  # fmt: skip
    _, left = restore_plan.documents(SOURCE, files)
    assert len(left) == 2
    for one in left:
        assert (one.uid + one.why).isprintable()
        assert (one.uid + one.why).isascii()
