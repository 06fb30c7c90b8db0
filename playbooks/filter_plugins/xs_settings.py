# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a school's settings, in lines that say how to mend it."""

from __future__ import annotations

import difflib
import ipaddress
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean

# The very code that the server runs, from this checkout.
sys.path.append(str(Path(__file__).resolve().parents[2] / "files/schoolserver/src"))

Specification = dict[str, dict[str, Any]]

# What the other roles stand on, so that site.yml cannot take it from under them.
GROUND = ("xs_package", "xs_library", "xs_network")


def problems(
    given: dict[str, Any], specifications: Iterable[Specification], others: Iterable[Specification] = ()
) -> list[str]:
    """Return one line for each setting that is unknown, missing or of a wrong type; none when all is well.

    `given` are the settings of one host; `specifications` are the options of every role's argument_specs; `others`
    those of roles for other hosts, whose settings an inventory may give to all.
    """
    known: Specification = {}
    for specification in specifications:
        known.update(specification)
    everywhere = {**known, **{name: options for other in others for name, options in other.items()}}
    lines = [unknown(name, everywhere) for name in sorted(given) if name not in everywhere]
    for name, options in sorted(known.items()):
        if name in given:
            # One at a time: the validator's message alone does not always name the setting.
            result = ArgumentSpecValidator({name: options}).validate({name: given[name]})
            lines += [f"{name}: {message}." for message in result.error_messages]
        elif options.get("required"):
            lines.append(f"{name} is not set. Add it to the inventory: {first_sentence(options['description'])}")
    return lines


def unknown(name: str, known: Iterable[str]) -> str:
    """Return the line for a setting that no role knows, with the known one that looks most like it."""
    alike = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {alike[0]}?" if alike else "take it out of the inventory."
    return f"{name} is not a setting; {hint}"


def first_sentence(description: str | list[str]) -> str:
    """Return the first sentence of an argument_specs description, without its markup."""
    text = description if isinstance(description, str) else description[0]
    plain = re.sub(r"\b[A-Z]\(([^)]*)\)", r"\1", " ".join(text.split()))
    return plain.split(". ")[0].rstrip(".") + "."


def switch_problems(roles: dict[str, bool | str]) -> list[str]:
    """Return one line for each role that is off and must not be; `roles` says which are on."""
    return [
        f"{role}_enabled: the other parts need {role}, so leave it on; playbooks/remove.yml takes everything away, "
        "the parts that need others first."
        for role in GROUND
        if not boolean(roles[role])
    ]


def laptop_problems(laptops: list[dict[str, Any]], setting: str = "xs_registration_laptops") -> list[str]:
    """Return one line for each of the list `setting` that the registrar would refuse, in the registrar's words."""
    from schoolserver import identity, school_list
    from schoolserver.errors import Refusal

    checks = {"serial": identity.check_serial, "uuid": identity.check_uuid, "pubkey": identity.parse_key}
    lines = []
    for number, laptop in enumerate(laptops, 1):
        who = laptop.get("serial") or f"line {number}"
        try:
            school_list.from_mapping(laptop)
        except Refusal as refusal:
            lines.append(f"{setting}: {who}: {refusal}.")
            continue
        for field, check in checks.items():
            try:
                if laptop.get(field) is not None:
                    check(laptop[field])
            except Refusal as refusal:
                lines.append(f"{setting}: {who}, {field}: {refusal}.")
        if laptop.get("pubkey") is not None and laptop.get("uuid") is None:
            lines.append(f"{setting}: {who}: a key on the list needs its laptop's uuid beside it.")
    return lines


def csv_problems(file: str) -> list[str]:
    """Return one line for each thing that is wrong with the spreadsheet at `file`."""
    from schoolserver import school_list
    from schoolserver.errors import Refusal

    try:
        laptops = school_list.parse_csv(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, Refusal) as error:
        return [f"xs_registration_csv: {file}: {error}."]
    return laptop_problems([dict(laptop) for laptop in laptops], f"xs_registration_csv: {file}")


def serial_problems(serials: list[str], setting: str = "xs_registration_serials") -> list[str]:
    """Return one line for each of the list `setting` that no laptop can have."""
    from schoolserver import identity
    from schoolserver.errors import Refusal

    lines = []
    for serial in serials:
        try:
            identity.check_serial(serial)
        except Refusal as refusal:
            lines.append(f"{setting}: {serial}: {refusal}.")
    return lines


def dhcp_problem(given: str, address: str, netmask: str) -> str:
    """Return what is wrong with `given`, a "first,last" pair, on `address`'s network; "" when it fits."""
    try:
        first, last = (ipaddress.IPv4Address(part.strip()) for part in given.split(","))
    except ValueError:
        return f"{given} is not two IPv4 addresses with a comma between them, such as 172.18.0.100,172.18.0.250."
    network = ipaddress.IPv4Network(f"{address}/{netmask}", strict=False)
    if first not in network or last not in network:
        return f"{given} lies outside {network}, the network of the school's interface."
    if first > last:
        return f"{first} comes after {last}; the first address stands first."
    if first <= ipaddress.IPv4Address(address) <= last:
        return f"{given} contains {address}, the server's own address; leave that out."
    return ""


class FilterModule:
    """What Ansible looks for in a filter plugin."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "xs_setting_problems": problems,
            "xs_switch_problems": switch_problems,
            "xs_laptop_problems": laptop_problems,
            "xs_csv_problems": csv_problems,
            "xs_serial_problems": serial_problems,
            "xs_dhcp_problem": dhcp_problem,
        }
