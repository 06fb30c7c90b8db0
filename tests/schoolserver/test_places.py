# SPDX-License-Identifier: GPL-3.0-or-later
"""Leases and places as state: nobody waits for what is free, and no more go than there are places."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from schoolserver.places import BETWEEN_SECONDS, PER_ADDRESS, PER_HOLDER, Places

JIM, ANN, EVE, STRANGER = "SHC12345678", "SHC22222222", "SHC33333333", "SHC12345678.2"
HERE, THERE = "172.18.96.5", "172.18.96.6"


@pytest.fixture
def places() -> Places:
    return Places(limit=2, lease_seconds=120)


def test_as_many_as_there_are_places_may_go(places: Places) -> None:
    assert [places.grant(holder, f"of {holder}", 0) for holder in (JIM, ANN, EVE)] == [True, True, False]


def test_asking_again_costs_no_second_place(places: Places) -> None:
    assert all(places.grant(JIM, f"of {JIM}", now) for now in (0, 1, 2))
    assert places.taken(2) == 1


def test_a_lease_that_nobody_uses_ends(places: Places) -> None:
    places.grant(JIM, f"of {JIM}", 0)
    places.grant(ANN, f"of {ANN}", 60)
    assert not places.grant(EVE, f"of {EVE}", 119)
    assert places.grant(EVE, f"of {EVE}", 121)


def test_a_run_keeps_its_place_between_its_sessions_and_gives_it_up_with_the_last(places: Places) -> None:
    places.grant(JIM, f"of {JIM}", 0)
    assert places.hold(JIM, "", 10)
    places.grant(ANN, f"of {ANN}", 499)
    places.release(JIM, "", 500, last=False)
    assert not places.grant(EVE, f"of {EVE}", 501)
    assert places.hold(JIM, "", 502)
    places.release(JIM, "", 503, last=True)
    assert places.grant(EVE, f"of {EVE}", 503)


def test_a_run_that_breaks_off_gives_its_place_up_soon(places: Places) -> None:
    places.grant(JIM, f"of {JIM}", 0)
    places.hold(JIM, "", 1)
    places.release(JIM, "", 100, last=False)
    assert places.taken(100 + BETWEEN_SECONDS - 1) == 1
    assert places.taken(100 + BETWEEN_SECONDS + 1) == 0


def test_a_long_session_outlives_its_lease(places: Places) -> None:
    places.grant(JIM, f"of {JIM}", 0)
    places.hold(JIM, "", 1)
    assert places.taken(10_000) == 1


def test_who_never_asked_may_sit_where_there_is_room_and_only_there(places: Places) -> None:
    assert places.hold(JIM, "", 0)
    assert places.hold(ANN, "", 0)
    assert not places.hold(EVE, "", 0)


def test_one_laptop_cannot_take_every_place() -> None:
    places = Places(limit=8, lease_seconds=120)
    assert [places.hold(JIM, "", 0) for _ in range(PER_HOLDER + 1)] == [True] * PER_HOLDER + [False]


def test_a_stranger_who_claims_a_serial_never_takes_the_childs_places() -> None:
    places = Places(limit=4, lease_seconds=120)
    assert places.grant(JIM, HERE, 0)
    assert [places.hold(STRANGER, "", 0) for _ in range(PER_HOLDER + 1)] == [True] * PER_HOLDER + [False]
    assert places.hold(JIM, "", 1)


def test_a_laptop_that_waits_for_a_person_holds_one_place_though_it_asked_by_its_serial() -> None:
    places = Places(limit=2, lease_seconds=120)
    assert places.grant(JIM, THERE, 0)
    places.hand_over(JIM, STRANGER, THERE)
    assert places.hold(STRANGER, "", 1)
    assert places.taken(1) == 1
    places.release(STRANGER, "", 2, last=True)
    assert places.taken(2) == 0


def test_a_stranger_elsewhere_does_not_get_the_childs_lease() -> None:
    places = Places(limit=1, lease_seconds=120)
    assert places.grant(JIM, HERE, 0)
    for address in (THERE, ""):
        places.hand_over(JIM, STRANGER, address)
        assert not places.hold(STRANGER, "", 1)
    assert places.hold(JIM, "", 1)
    places.hand_over(JIM, STRANGER, HERE)
    assert not places.hold(STRANGER, "", 2)


def test_one_laptop_cannot_lease_every_place_in_its_classmates_names() -> None:
    places = Places(limit=8, lease_seconds=120)
    assert sum(places.grant(f"SHC0000000{number}", HERE, 0) for number in range(8)) == PER_ADDRESS
    assert places.grant(JIM, THERE, 0)


def test_a_class_behind_one_address_goes_one_after_the_other_without_waiting() -> None:
    places = Places(limit=8, lease_seconds=120)
    for number in range(6):
        assert places.grant(f"SHC0000000{number}", HERE, number)
        assert places.hold(f"SHC0000000{number}", HERE, number)
    assert places.taken(9) == 6


def test_a_quarter_of_the_places_is_never_taken_from_one_address() -> None:
    places = Places(limit=8, lease_seconds=120)
    invented = [f"SHC0000000{number}" for number in range(8)]
    assert sum(places.hold(one, HERE, 0) for one in invented * PER_HOLDER) == 6
    assert not places.grant("SHC00000008", HERE, 1)
    assert places.grant(JIM, THERE, 1)
    assert places.hold(JIM, THERE, 2)
    places.release(invented[0], HERE, 3, last=True)
    assert places.grant("SHC00000008", HERE, 4)


def test_runs_that_stop_between_two_sessions_take_no_more_from_one_address() -> None:
    places = Places(limit=8, lease_seconds=120)
    for number in range(8):
        if places.grant(f"SHC0000000{number}", HERE, number) and places.hold(f"SHC0000000{number}", HERE, number):
            places.release(f"SHC0000000{number}", HERE, number, last=False)
    assert places.taken(9) == 6


def test_a_place_that_was_promised_is_there() -> None:
    places = Places(limit=4, lease_seconds=120)
    assert places.grant(JIM, HERE, 0)
    assert [places.hold(holder, HERE, 1) for holder in (ANN, EVE, STRANGER)] == [True, True, False]
    assert places.hold(JIM, HERE, 2)


def test_one_laptop_cannot_keep_up_the_leases_of_a_class_that_went_home() -> None:
    places = Places(limit=8, lease_seconds=120)
    for number in range(8):
        places.grant(f"SHC0000000{number}", f"172.18.96.{number}", 0)
    for number in range(4, 8):
        places.hold(f"SHC0000000{number}", "", 50)
        places.release(f"SHC0000000{number}", "", 99, last=False)
    for now in (100, 200):
        for number in range(8):
            places.grant(f"SHC0000000{number}", THERE, now)
    assert places.taken(201) == PER_ADDRESS


def test_asking_again_makes_sense_when_the_first_unused_lease_ends(places: Places) -> None:
    places.grant(JIM, f"of {JIM}", 0)
    places.grant(ANN, f"of {ANN}", 50)
    assert places.retry_after(60) == 60
    assert places.retry_after(119) == 15
    places.hold(JIM, "", 60)
    places.hold(ANN, "", 60)
    assert places.retry_after(60) == 120


ADDRESSES = st.sampled_from([HERE, THERE])
HOLDERS = st.sampled_from([JIM, ANN, EVE, STRANGER, "SHC44444444", "SHC55555555"])


class AnySchoolDay(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.places = Places(limit=4, lease_seconds=100)
        self.now = 0.0
        self.open: list[tuple[str, str]] = []

    def of_one(self, address: str) -> int:
        """The places that `address` takes, in sessions and in leases."""
        sitting = {holder for holder, _ in self.open}
        leases = [lease for holder, lease in self.places.leases.items() if holder not in sitting]
        return sum(lease.address == address for lease in leases) + sum(other == address for _, other in self.open)

    @rule(seconds=st.floats(0, 200))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(holder=HOLDERS, address=ADDRESSES)
    def asks(self, holder: str, address: str) -> None:
        free = self.places.taken(self.now) < 4
        unused = [lease for lease in self.places.leases.values() if (lease.address, lease.used) == (address, False)]
        crowded = self.of_one(address) >= 3
        granted = self.places.grant(holder, address, self.now)
        assert granted or not free or crowded or len(unused) >= PER_ADDRESS

    @rule(holder=HOLDERS, address=ADDRESSES)
    def connects(self, holder: str, address: str) -> None:
        lease = self.places.leases.get(holder)
        leased = lease is not None and lease.end > self.now and holder not in [one for one, _ in self.open]
        seated = self.places.hold(holder, address, self.now)
        assert seated or not leased
        self.open += [(holder, address)] * seated

    @rule(asked=HOLDERS, holder=HOLDERS, address=ADDRESSES)
    def takes_over(self, asked: str, holder: str, address: str) -> None:
        before = self.places.taken(self.now)
        self.places.hand_over(asked, holder, address)
        assert self.places.taken(self.now) <= before

    @rule(data=st.data(), last=st.booleans())
    def leaves(self, data: st.DataObject, last: bool) -> None:
        if self.open:
            holder, address = data.draw(st.sampled_from(self.open))
            self.open.remove((holder, address))
            self.places.release(holder, address, self.now, last=last)

    @invariant()
    def no_more_sit_than_there_are_places(self) -> None:
        assert len(self.open) == sum(self.places.sessions.values()) <= self.places.taken(self.now) <= 4

    @invariant()
    def no_address_has_more_than_its_unused_leases(self) -> None:
        for address in (HERE, THERE):
            unused = [lease for lease in self.places.leases.values() if (lease.address, lease.used) == (address, False)]
            assert len(unused) <= PER_ADDRESS

    @invariant()
    def every_address_that_is_counted_has_sessions(self) -> None:
        assert self.places.addresses == Counter(address for _, address in self.open)


TestAnySchoolDay = AnySchoolDay.TestCase


@given(st.lists(HOLDERS, max_size=40))
def test_when_everyone_has_gone_every_place_is_free(holders: list[str]) -> None:
    places = Places(limit=3, lease_seconds=100)
    for holder in [holder for holder in holders if places.hold(holder, "", 0)]:
        places.release(holder, "", 1, last=False)
    assert places.taken(1) == 0
