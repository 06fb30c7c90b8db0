# SPDX-License-Identifier: GPL-3.0-or-later
"""A school's list of laptops: how it is read, what it leads to, and that once done it is done."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptops import ANN, EVE, JIM, NOW, UUID, after, dsa, request
from schoolserver import acts, policy, school_list
from schoolserver.accounts import JOINED, Account, Known
from schoolserver.acts import Act, Change
from schoolserver.audit import Who
from schoolserver.errors import Refusal
from schoolserver.learners import Learners
from schoolserver.policy import Request, Rules
from schoolserver.school_list import ABSENT, COLUMNS, PRESENT, RETIRED, Entry, Wanted, from_mapping, parse_csv

ACT = Act(Who("maria", "172.18.0.20"), NOW)
FURTHER = f"{JIM}.2"


def line(serial: str, key: int | None = None, **said: Any) -> Entry:
    """A line of the list; with the `key`-th key where one is given."""
    known = {} if key is None else {"uuid": UUID, "pubkey": dsa(key)}
    return Entry(serial, **{**known, **said})


def decide(known: Known, *entries: Entry, rules: Rules | None = None) -> Wanted:
    return school_list.decide(known, entries, rules or Rules(), ACT)


def applied(known: Known, change: Change) -> Known:
    for _, account in change.steps:
        known = known.plus(account)
    return known


def listed(known: Known, *entries: Entry) -> dict[str, Account]:
    return applied(known, decide(known, *entries).change).accounts


# What a line says.


def test_a_line_says_what_its_columns_say() -> None:
    texts = {
        "serial": JIM,
        "nick": "Jim",
        "uuid": UUID,
        "pubkey": dsa(),
        "class": "4B",
        "joins": ANN,
        "state": "retired",
    }
    assert list(texts) == list(COLUMNS)
    assert from_mapping(texts) == Entry(JIM, "Jim", UUID, dsa(), "4B", ANN, "retired")


def test_what_a_line_does_not_say_is_left_as_it_is() -> None:
    assert from_mapping({"serial": JIM}) == Entry(JIM, None, None, None, None, None, PRESENT)
    assert from_mapping({"serial": JIM, **dict.fromkeys(COLUMNS[1:])}) == Entry(JIM)


def test_an_empty_nick_class_or_joins_is_something_said() -> None:
    line = from_mapping({"serial": JIM, "nick": "", "class": " ", "joins": "", "uuid": "", "pubkey": "", "state": ""})
    assert (line.nick, line.class_name, line.joins) == ("", "", "")
    assert (line.uuid, line.pubkey, line.state) == (None, None, PRESENT)


def test_a_number_where_yaml_saw_one_is_its_text_and_spaces_around_are_none() -> None:
    assert from_mapping({"serial": f" {JIM}\t", "class": 4, "nick": " Jim "}) == Entry(JIM, "Jim", class_name="4")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"serial": JIM, "clas": "4B"}, "unknown column 'clas'; known are serial, nick, uuid"),
        ({"serial": JIM, 5: "4B"}, "unknown column '5'"),
        ({"serial": JIM, "\x1b[2J": ""}, r"unknown column '\\x1b\[2J'"),
        ({"nick": "Jim"}, "a line has no serial"),
        ({"serial": "  ", "nick": "Jim"}, "a line has no serial"),
        ({"serial": JIM, "state": "gone"}, "state must be present, absent or retired, not 'gone'"),
        ({"serial": JIM, "state": "\n" * 999}, None),
        ({"serial": JIM, "state": "x\n" * 999}, r"not 'x\\nx"),
    ],
)
def test_a_line_that_says_something_else_is_refused(wrong: dict[Any, Any], why: str | None) -> None:
    if why is None:
        assert from_mapping(wrong).state == PRESENT
        return
    with pytest.raises(Refusal, match=why) as refusal:
        from_mapping(wrong)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


# A spreadsheet.

TWO = [{"serial": JIM, "nick": "Jim"}, {"serial": ANN, "class": "4B"}]


@pytest.mark.parametrize(
    "text",
    [
        f"serial,nick,class\n{JIM},Jim,\n{ANN},,4B\n",
        f"serial;nick;class\n{JIM};Jim;\n{ANN};;4B\n",
        f"\ufeffserial,nick,class\r\n{JIM},Jim,\r\n{ANN},,4B\r\n",
        f'"class","serial","nick"\n"","{JIM}","Jim"\n4B,{ANN},',
        f"serial,nick,class\n\n{JIM},Jim\n,,\n{ANN},   ,4B\n,,\n\n",
        f"serial,nick,class\r{JIM},Jim,\r{ANN},,4B",
        f"serial,nick,class,\n{JIM},Jim,,\n{ANN},,4B,\n",
    ],
    ids=["comma", "semicolon", "BOM and CRLF", "quotes, no last end", "empty lines and cells", "CR", "an empty column"],
)
def test_a_spreadsheet_is_read_as_programs_save_it(text: str) -> None:
    assert parse_csv(text) == TWO


def test_a_cell_may_hold_what_parts_cells() -> None:
    assert parse_csv(f'serial;nick\n{JIM};"Jim; the ""tall"" one, 4B"\n') == [
        {"serial": JIM, "nick": 'Jim; the "tall" one, 4B'}
    ]


def test_names_in_nepali_come_through() -> None:
    name = "क\u094dष\u093fत\u093fज \u200dथाप\u093e"
    (said,) = parse_csv(f"serial,nick,uuid,pubkey\n{JIM},{name},{UUID},{dsa()}\n")
    assert listed(Known(), from_mapping(said))[JIM].nick == name


@pytest.mark.parametrize(
    "text", ["", "\n", f"{JIM},Jim\n", f"Serial,nick\n{JIM},Jim\n", f"serial|nick\n{JIM}|Jim\n", "\x00"]
)
def test_a_spreadsheet_whose_first_line_names_no_serial_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="no column serial; its first line must name columns out of serial, nick"):
        parse_csv(text)


def test_a_line_with_too_many_cells_is_refused_and_one_with_too_few_is_not() -> None:
    with pytest.raises(Refusal, match="more cells than the first line has columns"):
        parse_csv(f"serial,nick\n{JIM},Jim,4B\n")
    assert parse_csv(f"serial,nick\n{JIM}\n") == [{"serial": JIM}]


def test_a_column_nobody_knows_is_named() -> None:
    (said,) = parse_csv(f"serial,shoe size\n{JIM},38\n")
    with pytest.raises(Refusal, match="unknown column 'shoe size'"):
        from_mapping(said)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (f'serial,nick\n{JIM},"Jim\n{ANN},Ann\n', 3),  # it would swallow Ann
        (f'serial,nick\n{JIM},"Jim"x\n{ANN},Ann\n', 2),
        (f"serial,nick\n{JIM},{'x' * 200_000}\n", 2),
        (f'serial,"nick\n{JIM},Jim\n', 2),
    ],
)
def test_a_spreadsheet_that_is_none_is_refused_with_the_line(text: str, number: int) -> None:
    with pytest.raises(Refusal, match=f"the list is damaged at its line {number}: "):
        parse_csv(text)


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")).map(str.strip)


@given(st.lists(st.fixed_dictionaries({"serial": st.just(JIM), "nick": CELLS, "class": CELLS})), st.sampled_from(",;"))
def test_whatever_a_spreadsheet_program_writes_is_read_again(lines: list[dict[str, str]], delimiter: str) -> None:
    out = io.StringIO()
    table = csv.DictWriter(out, ("serial", "nick", "class"), delimiter=delimiter)
    table.writeheader()
    table.writerows(lines)
    assert parse_csv(out.getvalue()) == [{name: cell for name, cell in line.items() if cell} for line in lines]


@given(st.text())
def test_whatever_the_text_it_is_a_list_or_refused(text: str) -> None:
    for prefix in ("", "serial,nick\n", "serial;nick\n"):
        try:
            lines = parse_csv(prefix + text)
        except Refusal as refusal:
            assert "\n" not in str(refusal)
        else:
            assert all(lines)


# What a list leads to.


def test_whoever_has_a_key_on_the_list_is_registered() -> None:
    wanted = decide(Known(), line(JIM, 0, nick="Jim", class_name="4B"), line(ANN, 1))
    accounts = applied(Known(), wanted.change).accounts
    assert {tree: (one.names, one.uid, one.nick, one.class_name) for tree, one in accounts.items()} == {
        JIM: ((JIM,), 20000, "Jim", "4B"),
        ANN: ((ANN,), 20001, "", ""),
    }
    assert wanted.waiting == ()
    assert [(login, account.tree) for login, account in wanted.accounts] == [(JIM, JIM), (ANN, ANN)]
    assert [before for before, _ in wanted.change.steps] == [None, None], "one step for each tree"


def test_whoever_has_none_waits_until_it_registers_and_what_is_said_of_it_too() -> None:
    lines = (line(JIM, nick="Jim", class_name="4B"), line(ANN, joins=JIM), line(EVE, state=RETIRED))
    wanted = decide(Known(), *lines)
    assert (wanted.waiting, wanted.accounts, wanted.change.changed) == ((JIM, ANN, EVE), (), False)
    known = after(request(JIM, 0, nick="J"), request(ANN, 1), request(EVE, 2))
    accounts = listed(known, *lines)
    assert (accounts[JIM].nick, accounts[JIM].class_name) == ("Jim", "4B")
    assert accounts[ANN].learner == JIM
    assert accounts[EVE].retired == "2026-11-23T10:00:00Z"


def test_a_list_needs_nobodys_leave() -> None:
    assert decide(Known(), line(JIM, 0), rules=Rules()).change.changed
    with pytest.raises(Refusal, match="has its 1 laptops and takes no more"):
        decide(Known(), line(JIM, 0), line(ANN, 1), rules=Rules(most_laptops=1))


def test_a_laptop_joins_one_that_stands_above_it_in_the_same_list() -> None:
    accounts = listed(Known(), line(JIM, 0), line(ANN, 1, joins=JIM), line(EVE, 2, joins=ANN))
    assert Learners(accounts).trees_of(JIM) == [JIM, ANN, EVE]
    (approval,) = accounts[EVE].approvals
    assert (approval.did, approval.tree, approval.by) == (JOINED, JIM, "maria from 172.18.0.20")


def test_a_laptop_that_joins_itself_was_reflashed() -> None:
    known = after(request(JIM, 0), request(JIM, 1))
    accounts = listed(known, line(JIM, joins=JIM))
    assert accounts[FURTHER].learner == JIM
    assert Learners(accounts).written_by(accounts[FURTHER]) == JIM
    assert listed(Known(accounts), line(JIM, joins="")) == known.accounts


def test_a_join_is_taken_back_by_an_empty_text_and_kept_by_silence() -> None:
    known = after(request(JIM, 0), request(ANN, 1))
    joined = Known(listed(known, line(ANN, joins=JIM)))
    assert listed(joined, line(ANN)) == joined.accounts
    assert listed(joined, line(ANN, joins="")) == known.accounts


def test_a_nick_that_is_left_out_stays_and_one_that_is_given_is_made_fit_to_show() -> None:
    known = after(request(JIM, 0, nick="Jim"))
    assert listed(known, line(JIM, 0)) == listed(known, line(JIM)) == known.accounts
    assert listed(known, line(JIM, nick="\x1b[2JJames\n"))[JIM].nick == "[2JJames"
    assert listed(known, line(JIM, class_name="a class with a very long name"))[JIM].class_name == "a class with a very"


def test_a_laptop_goes_into_store_and_comes_back() -> None:
    known = after(request(JIM, 0))
    stored = Known(listed(known, line(JIM, 0, state=RETIRED)))
    assert stored.accounts == {JIM: replace(known.accounts[JIM], retired="2026-11-23T10:00:00Z")}
    assert not decide(stored, line(JIM, 0, state=RETIRED)).change.changed
    assert not decide(stored, line(JIM, state=RETIRED)).change.changed
    assert listed(stored, line(JIM, 0)) == listed(stored, line(JIM)) == known.accounts


def test_a_laptop_can_be_put_in_store_before_it_ever_came() -> None:
    assert listed(Known(), line(JIM, 0, state=RETIRED))[JIM].retired


def test_who_is_absent_is_forgotten_with_its_childs_other_keys_and_keeps_its_tree() -> None:
    known = after(request(JIM, 0), request(JIM, 1), request(ANN, 2))
    known = applied(known, acts.decide_approval(known, JIM, None, ACT))
    wanted = decide(known, line(JIM, 0, state=ABSENT))
    accounts = applied(known, wanted.change).accounts
    assert [(one.names, one.keys) for one in (accounts[JIM], accounts[FURTHER])] == [((), ())] * 2
    assert accounts[ANN] == known.accounts[ANN]
    assert (wanted.waiting, wanted.accounts) == ((), ())
    assert not decide(Known(accounts), line(JIM, 0, state=ABSENT)).change.changed


def test_who_was_never_there_can_be_absent() -> None:
    assert not decide(Known(), line(JIM, state=ABSENT)).change.changed


def test_a_further_tree_can_be_named_once_it_is_there() -> None:
    known = after(request(JIM, 0), request(JIM, 1))
    assert listed(known, line(FURTHER, class_name="4B"))[FURTHER].class_name == "4B"
    with pytest.raises(Refusal, match=rf"{ANN}\.2: the serial must be"):
        decide(known, line(f"{ANN}.2"))


def test_one_bad_line_refuses_all_and_each_bad_line_is_named() -> None:
    with pytest.raises(Refusal) as refusal:
        decide(
            Known(),
            line(JIM, 0),
            line("SHF00000000", 1),
            line(ANN, joins="SHC99999999", uuid=UUID, pubkey=dsa(2)),
            line(EVE, pubkey=dsa(3)),
            line("SHC44444444", uuid=UUID, pubkey="AAAA"),
            line("SHC55555555", uuid="x", pubkey=dsa(4)),
            line("SHC66666666", 5),
        )
    said = str(refusal.value).split("; ")
    assert [one.partition(": ")[0] for one in said] == ["SHF00000000", ANN, EVE, "SHC44444444", "SHC55555555"]
    assert "a key on the list needs its laptop's uuid beside it" in said[2]


def test_a_laptop_that_is_on_the_list_twice_is_refused_whatever_the_lines_say() -> None:
    with pytest.raises(Refusal, match=f"^{JIM}: it is on the list more than once: leave one line$"):
        decide(Known(), line(JIM, 0), line(ANN, 1), line(JIM, state=ABSENT))


def test_what_a_line_below_undoes_is_done_again_at_once_and_not_by_the_next_run() -> None:
    known = Known(listed(after(request(JIM, 0), request(ANN, 1), request(EVE, 2)), line(EVE, joins=ANN)))
    lines = (line(ANN, joins=EVE), line(EVE, joins=JIM))
    accounts = listed(known, *lines)
    assert Learners(accounts).trees_of(JIM) == [JIM, ANN, EVE]
    assert not decide(Known(accounts), *lines).change.changed


def test_a_key_goes_to_the_serial_that_has_it_on_the_list_where_the_one_that_had_it_is_absent() -> None:
    known = after(request(ANN, 0))
    for lines in ([line(ANN, state=ABSENT), line(EVE, 0)], [line(EVE, 0), line(ANN, state=ABSENT)]):
        accounts = listed(known, *lines)
        assert (accounts[ANN].names, accounts[ANN].keys) == ((), ())
        assert (accounts[EVE].names, [key.blob for key in accounts[EVE].keys]) == ((EVE,), [dsa(0)])


def test_an_account_that_is_damaged_is_named_and_not_replaced() -> None:
    with pytest.raises(Refusal, match=f"{JIM}: the account of {JIM} on the school server is damaged"):
        decide(Known(damaged={JIM: "it is not JSON"}), line(JIM, 0))


# Once done it is done.

SERIALS, KEYS = st.sampled_from([JIM, ANN, EVE, "SHC44444444"]), st.integers(0, 4)
LINES = st.lists(
    st.builds(
        line,
        SERIALS,
        st.one_of(st.none(), KEYS),
        nick=st.sampled_from([None, "", "Jim"]),
        class_name=st.sampled_from([None, "", "4B"]),
        joins=st.one_of(st.none(), st.just(""), SERIALS, st.sampled_from([FURTHER, f"{ANN}.2"])),
        state=st.sampled_from([PRESENT, PRESENT, PRESENT, RETIRED, ABSENT]),
    ),
    unique_by=lambda entry: entry.serial,
    max_size=4,
)
BEFORE = st.tuples(st.lists(st.builds(request, SERIALS, KEYS), max_size=6), LINES)


def school(registered: list[Request], list_before: list[Entry]) -> Known:
    """What is known after these registrations and this list; what is refused changes nothing."""
    known = Known()
    for each in registered:
        known = known.plus(policy.decide(known, each, NOW).account)
    try:
        return applied(known, decide(known, *list_before).change)
    except Refusal:
        return known


@given(BEFORE, LINES)
def test_deciding_again_after_it_was_done_changes_nothing(
    before: tuple[list[Request], list[Entry]], lines: list[Entry]
) -> None:
    known = school(*before)
    try:
        wanted = decide(known, *lines)
    except Refusal:
        return
    done = applied(known, wanted.change)
    again = decide(done, *lines)
    assert not again.change.changed
    assert again.waiting == wanted.waiting
    assert again.accounts == wanted.accounts


@given(BEFORE, LINES)
def test_whatever_a_list_says_no_tree_goes_and_each_step_starts_from_what_stands(
    before: tuple[list[Request], list[Entry]], lines: list[Entry]
) -> None:
    known = school(*before)
    try:
        steps = decide(known, *lines).change.steps
    except Refusal:
        return
    assert len({account.tree for _, account in steps}) == len(steps)
    assert all(known.accounts.get(account.tree) == stands for stands, account in steps)


def test_two_lines_with_one_key_are_refused_because_two_children_would_share_an_account() -> None:
    lines = [Entry(JIM, uuid=UUID, pubkey=dsa(0)), Entry(ANN, uuid=UUID, pubkey=dsa(0))]
    with pytest.raises(Refusal, match=f"{JIM} and {ANN}: they have the same key"):
        school_list.decide(Known(), lines, Rules(), ACT)


def test_who_joins_a_laptop_of_the_list_that_has_not_registered_yet_waits_for_it() -> None:
    known = after(request(ANN, key=1))
    wanted = school_list.decide(known, [Entry(JIM), Entry(ANN, joins=JIM)], Rules(), ACT)
    assert wanted.waiting == (JIM, ANN)
    assert not wanted.change.changed


# That a long list is no other list, and no slower one.


@given(BEFORE, LINES)
def test_lines_decided_apart_lead_to_what_they_lead_to_together(
    before: tuple[list[Request], list[Entry]], lines: list[Entry]
) -> None:
    known = school(*before)
    whole = school_list._Group(known, {entry.serial for entry in lines}, Rules(), ACT)
    whole.decide(lines)
    keys = [entry.pubkey for entry in lines if entry.pubkey]
    try:
        wanted = decide(known, *lines)
    except Refusal as refusal:
        assert whole.problems or len(set(keys)) < len(keys), refusal
        return
    assert not whole.problems

    def plain(accounts: dict[str, Account]) -> dict[str, Account]:
        """New laptops may get their uids in another order."""
        return {tree: one if tree in known.accounts else replace(one, uid=0) for tree, one in accounts.items()}

    assert plain(applied(known, wanted.change).accounts) == plain(whole.known.accounts)
    assert wanted.waiting == tuple(
        entry.serial for entry in lines if entry.state != ABSENT and whole.accounts[entry.serial] is None
    )


def test_laptops_that_come_at_once_get_uids_of_their_own_whatever_hangs_together() -> None:
    known = after(request(ANN, 1))
    lines = [line(JIM, 0), line(EVE, 2), line("SHC44444444", 3, joins=JIM), line("SHC55555555", 4, joins=ANN)]
    accounts = listed(known, *lines)
    assert len({account.uid for account in accounts.values()}) == len(accounts) == 5


def test_the_limit_counts_laptops_that_have_nothing_to_do_with_each_other() -> None:
    known = after(request(ANN, 1))
    assert decide(known, line(JIM, 0), rules=Rules(most_laptops=2)).change.changed
    with pytest.raises(Refusal, match=f"^{EVE}: this school server has its 2 laptops and takes no more"):
        decide(known, line(JIM, 0), line(EVE, 2), rules=Rules(most_laptops=2))
    assert decide(known, line(ANN, state=ABSENT), line(JIM, 0), line(EVE, 2), rules=Rules(most_laptops=2))


def work(known: Known, lines: list[Entry]) -> int:
    """How many calls of functions, and accounts copied, it takes to decide."""
    count = 0
    plus = Known.plus

    def counted(self: Known, *accounts: Account) -> Known:
        nonlocal count
        count += len(self.accounts) + len(accounts)
        return plus(self, *accounts)

    def called(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Known, "plus", counted)
        sys.setprofile(called)
        try:
            decide(known, *lines)
        finally:
            sys.setprofile(before)
    return count


@pytest.mark.parametrize("joined", [False, True], ids=["each for itself", "each for the child of another"])
def test_a_list_that_is_twice_as_long_takes_twice_the_work(joined: bool) -> None:
    def lines(number: int) -> list[Entry]:
        serials = [f"SHC{one:08}" for one in range(1, number + 1)]
        return [
            line(serial, one, nick="Jim", joins=serials[one - 1] if joined and one % 2 else None)
            for one, serial in enumerate(serials)
        ]

    small, large = lines(100), lines(200)
    assert work(Known(), large) < 2.3 * work(Known(), small), "a new school"
    known, more = (applied(Known(), decide(Known(), *each).change) for each in (small, large))
    assert work(more, large) < 2.3 * work(known, small), "a school that is as the list wants it"


# What the audit trail says.


def test_it_is_told_of_each_tree_what_was_done_with_it() -> None:
    known = after(request(JIM, 0), request(ANN, 1))
    change = decide(known, line(ANN, joins=JIM, nick="Annie"), line(EVE, 2), line(JIM, state=RETIRED)).change
    assert change.told == {
        ANN: f"nick or class; {ANN} is the same child as {JIM}",
        EVE: "new tree",
        JIM: f"{JIM} is in store; its documents stay where they are",
    }
    joined = Known(listed(known, line(ANN, joins=JIM)))
    assert decide(joined, line(ANN, joins="")).change.told == {ANN: f"{ANN} is apart from {JIM} again"}
    assert decide(joined, line(ANN, joins=JIM)).change.told == {}
