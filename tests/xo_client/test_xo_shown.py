# SPDX-License-Identifier: GPL-3.0-or-later
"""What the window within Sugar shows for what the programs print; on a running desktop it is molecule/laptop."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xo_client.desktop import shown
from xo_client.desktop.shown import ANYWAY, BACKUP, CANCEL, CLOSE, FIT, GET, LABELS, LATER, RESTART, RESTORE, RETRY

LISTING = {
    "approval": "none",
    "missing": 12,
    "days": [
        {"day": "2026-11-23", "stamp": "2026-11-23T100000Z", "documents": 12, "bytes": 3_456_789},
        {"day": "2026-11-21", "stamp": "2026-11-21T100000Z", "documents": 120, "bytes": 23_456_789, "best": True},
        {"day": "2026-11-20", "stamp": "2026-11-20T080000Z", "documents": None, "bytes": None},
        {"day": "2026-11-20", "stamp": "2026-11-20T100000Z", "documents": 1, "bytes": 0},
    ],
}


def end(outcome: str, reason: str = "", *, retry: bool = False, **more: Any) -> dict[str, Any]:
    return {"event": "end", "outcome": outcome, "reason": reason or outcome, "message": "So.", "retry": retry, **more}


def seen(event: dict[str, Any], task: str = RESTORE) -> shown.Shown:
    return shown.after(event, task, shown.asking())


def test_the_best_day_comes_first_then_what_is_missing_then_the_other_days_newest_first() -> None:
    assert [(choice.label, choice.note, choice.arguments) for choice in shown.choices(LISTING)] == [
        ("Everything, as it was on Saturday\xa021\xa0November", "120 documents, 23 MB", ()),
        ("Only what my Journal does not have", "12 documents", ("--missing",)),
        ("As it was on Monday\xa023\xa0November", "12 documents, 3.5 MB", ("--day", "2026-11-23")),
        ("As it was on Friday\xa020\xa0November", "1 document", ("--day", "2026-11-20")),
    ]


def test_where_nothing_is_missing_that_is_no_choice_and_where_it_is_not_known_it_has_no_number() -> None:
    assert ("--missing",) not in [choice.arguments for choice in shown.choices({**LISTING, "missing": 0})]
    unknown = shown.choices({**LISTING, "missing": None})[1]
    assert (unknown.arguments, unknown.note) == (("--missing",), "The documents of your Journal stay as they are.")


def test_a_server_without_documents_is_said_to_have_none() -> None:
    now = shown.choosing({"approval": "none", "days": [], "missing": None})
    assert (now.sentence, now.buttons) == ("The school server has no documents of this laptop yet.", (CLOSE,))


def test_a_list_that_did_not_come_says_why_and_can_be_asked_for_again_where_that_helps() -> None:
    away = shown.not_listed({"reason": "away", "message": "Not here."}, 1)
    assert (away.sentence, away.buttons) == ("Not here.", (RETRY, CLOSE))
    assert shown.not_listed({"reason": "stranger", "message": "Another."}, 1).buttons == (CLOSE,)
    assert "tell your teacher" in shown.not_listed({}, 1).sentence


def test_a_pending_approval_is_told_above_the_choices() -> None:
    assert "ask your teacher" in shown.choosing({**LISTING, "approval": "pending"}).detail
    assert "ask your teacher" in shown.choosing({"approval": "pending", "days": []}).sentence
    assert "ask your teacher" not in shown.choosing(LISTING).detail


def test_progress_is_shown_in_documents_and_bytes_and_can_be_cancelled() -> None:
    event = {"event": "progress", "phase": "fetch", "documents": 3, "of_documents": 40, "bytes": 5, "of_bytes": 20}
    now = seen(event)
    assert (now.fraction, now.detail, now.buttons) == (0.25, "3 of 40 documents, 0.0 MB of 0.0 MB", (CANCEL,))
    only_documents = seen({**event, "bytes": 0, "of_bytes": 0})
    assert (only_documents.fraction, only_documents.detail) == (0.075, "3 of 40 documents")


def test_what_is_being_moved_in_cannot_be_cancelled() -> None:
    assert seen({"event": "progress", "phase": "move", "documents": 3, "of_documents": 40}).buttons == ()


def test_a_cancel_that_was_asked_for_is_not_asked_for_again_by_late_progress() -> None:
    stopping = shown.stopping(seen({"event": "progress", "phase": "fetch", "documents": 1, "of_documents": 2}))
    late = shown.after({"event": "progress", "phase": "fetch", "documents": 2, "of_documents": 2}, RESTORE, stopping)
    assert (late.sentence, late.buttons) == ("Stopping…", ())
    assert shown.after(end("cancelled", retry=True), RESTORE, late).buttons == (RETRY, CLOSE)


def test_the_plan_says_how_much_from_when_and_what_of_today_stays_beside_it() -> None:
    plan = {"event": "plan", "documents": 120, "bytes": 23_456_789, "kept": 3, "day": "2026-11-21"}
    planned = "120 documents, 23 MB from Saturday\xa021\xa0November."
    assert seen(plan).detail == f"{planned} 3 documents of today stay beside them."
    assert seen({**plan, "kept": 0}).detail == planned


def test_what_is_done_can_only_be_closed_unless_sugar_has_lost_its_datastore() -> None:
    assert seen(end("done")).buttons == (CLOSE,)
    assert seen(end("nothing")).buttons == (CLOSE,)
    assert shown.to_restart(seen(end("done"))).buttons == (RESTART, LATER)


@pytest.mark.parametrize(
    ("event", "task", "buttons"),
    [
        (end("failed", "network", retry=True), RESTORE, (RETRY, CLOSE)),
        (end("failed", "refused"), RESTORE, (CLOSE,)),
        (end("failed", "room"), RESTORE, (FIT, CLOSE)),
        (end("failed", "room"), BACKUP, (CLOSE,)),
    ],
)
def test_a_failure_offers_what_helps(event: dict[str, Any], task: str, buttons: tuple[str, ...]) -> None:
    assert (seen(event, task).sentence, seen(event, task).buttons) == ("So.", buttons)


def test_a_backup_that_waits_for_an_answer_asks_for_it() -> None:
    now = seen(end("failed", "offer"), BACKUP)
    assert now.sentence.endswith("Do you want them back first?")
    assert now.buttons == (GET, ANYWAY, CLOSE)


def test_documents_that_stayed_on_the_server_are_named_with_the_reason() -> None:
    left = [{"uid": "a", "title": "Poem", "why": "It is damaged."}, {"uid": "b", "title": "", "why": "No room."}]
    assert seen(end("done", left=left)).lines == ("Poem: It is damaged.", "A document without a title: No room.")


def test_a_program_that_ends_without_a_word_is_no_success() -> None:
    assert "tell your teacher" in shown.without_word(127).sentence
    assert shown.without_word(-9).buttons == (RETRY, CLOSE)
    assert shown.without_word(3).sentence == "It was cancelled. Your Journal is as it was."


def test_the_offer_names_the_documents_and_the_day_where_it_knows_them() -> None:
    asked = "The school server has 120 documents of yours from Saturday\xa021\xa0November. Do you want them back?"
    assert shown.offered({"documents": 120, "day": "2026-11-21"}).sentence == asked
    assert shown.offered({"documents": 1}).sentence.endswith("1 document of yours. Do you want it back?")
    assert shown.offered({}).sentence == "The school server has documents of yours. Do you want them back?"


def test_the_menu_says_when_the_journal_was_saved_last_and_what_stands_in_the_way() -> None:
    last = {"last": "2026-11-21T10:00:00Z"}
    assert shown.last_saved({**last, "reason": "done", "message": "So."}) == "Saved last on Saturday\xa021\xa0November."
    away = {**last, "reason": "away", "message": "Not here."}
    assert shown.last_saved(away) == "Saved last on Saturday\xa021\xa0November. Not here."
    assert shown.last_saved({}) == "Not saved yet."


def test_why_a_registration_was_refused_is_its_own_sentence() -> None:
    assert shown.refused('{"ok": false, "reason": "away", "message": "Not here."}\n') == "Not here."
    assert shown.refused("Traceback\nIt broke.\n") == "It broke."
    assert "teacher" in shown.refused("")


def test_words_that_are_no_json_object_are_passed_over() -> None:
    assert [shown.parse(line) for line in ("", "warning: x", "[1]", "1", "[" * 100_000, '{"a": 1}')] == [None] * 5 + [
        {"a": 1}
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        *("phase", "documents", "of_documents", "bytes", "of_bytes"),
        *("outcome", "reason", "message", "retry", "left", "kept", "day"),
        *("days", "missing", "approval", "title", "why"),
    ]
)


@given(
    st.sampled_from(["plan", "progress", "end", "other"]),
    st.dictionaries(KEYS, JSON),
    st.sampled_from([BACKUP, RESTORE]),
)
def test_whatever_a_program_prints_something_is_shown(kind: str, fields: dict[str, Any], task: str) -> None:
    printed = json.dumps({**fields, "event": kind})
    event = shown.parse(printed)
    assert event is not None
    for now in (seen(event, task), shown.choosing(event), shown.not_listed(event, 1), shown.offered(event)):
        assert now.sentence
        assert now.fraction is None or 0 <= now.fraction <= 1
        assert set(now.buttons) <= set(LABELS)
