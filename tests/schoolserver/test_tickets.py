# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from schoolserver import tickets
from schoolserver.tickets import Tickets


def redeemed(state: Tickets, ticket: str, now: float) -> str:
    session = state.redeem(ticket, now)
    assert session is not None
    return session


def test_a_ticket_opens_its_tree_once() -> None:
    state = Tickets(600, 3600)
    ticket = state.mint("SHC12345678", 0)
    assert state.tree_of(redeemed(state, ticket, 599), 600) == "SHC12345678"
    assert state.redeem(ticket, 600) is None


def test_a_ticket_and_a_session_end_with_their_time() -> None:
    state = Tickets(600, 3600)
    assert state.redeem(state.mint("SHC12345678", 0), 600) is None
    session = redeemed(state, state.mint("SHC12345678", 0), 0)
    assert state.tree_of(session, 3599.9) == "SHC12345678"
    assert state.tree_of(session, 3600) is None


def test_a_guess_a_ticket_as_session_and_a_session_as_ticket_open_nothing() -> None:
    state = Tickets(600, 3600)
    ticket = state.mint("SHC12345678", 0)
    assert state.tree_of(ticket, 0) is None
    session = redeemed(state, ticket, 0)
    for token in ("", "guess", "\udcff", session[:-1], session):
        assert state.redeem(token, 0) is None
    assert state.tree_of("", 0) is None


def test_one_laptop_in_a_loop_pushes_out_only_its_own_oldest() -> None:
    state = Tickets(600, 3600)
    mine, first = state.mint("SHC12345678", 0), state.mint("SHC99999999", 0)
    for _ in range(tickets.MOST_A_TREE):
        newest = state.mint("SHC99999999", 0)
    assert state.redeem(first, 0) is None
    assert state.redeem(newest, 0) and state.redeem(mine, 0)


def test_the_whole_school_is_bounded_and_ended_ones_are_forgotten() -> None:
    state = Tickets(600, 3600)
    for number in range(tickets.MOST + 5):
        state.mint(f"SHC{number:08}", 0)
    assert len(state._tickets) == tickets.MOST
    state.mint("SHC12345678", 601)
    assert len(state._tickets) == 1
