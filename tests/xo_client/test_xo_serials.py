# SPDX-License-Identifier: GPL-3.0-or-later
"""Every machine gets one serial, always the same, and no two the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schoolserver.names import SERIAL
from xo_client import serials
from xo_client.serials import Facts, choose


def test_an_xo_keeps_the_serial_that_it_was_born_with() -> None:
    assert choose(Facts(xo="SHC23800059", product_serial="5CG1234XYZ")) == "SHC23800059"


def test_a_raspberry_pi_is_known_by_its_own_serial() -> None:
    assert choose(Facts(raspberry_pi="10000000abcdef12", machine_id="a" * 31 + "b")) == "RPIabcdef12"


def test_what_nobody_is_called_is_no_serial() -> None:
    assert choose(Facts(xo=serials.NOBODY, machine_id="0123456789abcdef0123456789abcdef")).startswith("MID")


def test_a_technicians_word_goes_first_unless_it_is_no_serial() -> None:
    assert choose(Facts(given="XOL00000012", xo="SHC23800059")) == "XOL00000012"
    assert choose(Facts(given="twelve", xo="SHC23800059")) == "SHC23800059"


@pytest.mark.parametrize(
    "placeholder",
    ["To Be Filled By O.E.M.", "Default string", "System Serial Number", "0", "00000000", "None", "N/A", "123456789",
     "Not Specified", "xxxxxxxx", "O.E.M.", ""],
)  # fmt: skip
def test_what_makers_leave_in_the_field_is_no_serial(placeholder: str) -> None:
    machine = Facts(vendor="ACME", product_serial=placeholder, machine_id="0123456789abcdef0123456789abcdef")
    assert choose(machine).startswith("MID")


def test_two_makers_may_give_the_same_serial() -> None:
    assert choose(Facts(vendor="ACME", product_serial="PF2ABCD1")) != choose(
        Facts(vendor="Bear", product_serial="PF2ABCD1")
    )


def test_a_machine_that_says_nothing_has_none() -> None:
    assert choose(Facts()) == ""


@given(st.builds(Facts, *[st.text(max_size=40)] * len(Facts._fields)))
def test_a_serial_is_one_that_the_server_takes_and_stays_the_same(facts: Facts) -> None:
    made = choose(facts)
    assert made == "" or SERIAL.fullmatch(made)
    assert made == choose(facts)
    assert made != serials.NOBODY


def test_the_facts_are_read_where_the_kernel_has_them(tmp_path: Path) -> None:
    for path, text in (
        ("sys/class/dmi/id/product_serial", "PF2ABCD1\n"),
        ("proc/device-tree/serial-number", "10000000abcdef12\0"),
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
    ):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    facts = serials.read(tmp_path)
    assert (facts.product_serial, facts.raspberry_pi, facts.xo) == ("PF2ABCD1", "10000000abcdef12", "")


def test_what_root_wrote_at_the_start_is_what_a_child_sends(tmp_path: Path) -> None:
    written = tmp_path / "serial"
    written.write_text("DMIABCDEFGH\n")
    assert serials.this_machine(written) == "DMIABCDEFGH"
