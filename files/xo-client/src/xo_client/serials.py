# SPDX-License-Identifier: GPL-3.0-or-later
"""A serial for this machine: the same at every call and after every reflash, and no other machine's.

The server takes three capital letters and eight letters or digits (PROTOCOL.md section 2). Sugar itself makes up a new
one at each registration of a PC, and calls every Raspberry Pi SHF00000000.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import NamedTuple

XO = re.compile(r"[A-Z]{3}[A-Za-z0-9]{8}", re.ASCII)
WRITTEN = Path("/run/xo-client/serial")  # by root at each start: the DMI serial is for root's eyes alone
NOBODY = "SHF00000000"  # what Sugar says where it finds nothing
# What makers leave in the field where a serial should stand; these machines are told apart by something else.
_PLACEHOLDERS = re.compile(
    r"(to be filled|default|not (specified|applicable|available)|n/?a$|none$|unknown|system serial|serial ?number"
    r"|o\.?e\.?m|invalid|empty|x+$|0*1234567890?$|(.)\3*$)",
    re.IGNORECASE,
)


class Facts(NamedTuple):
    """What this machine says of itself; "" where it says nothing."""

    given: str = ""  # a technician's word, for machines whose maker gave all of them one serial
    xo: str = ""  # an XO's manufacturing data
    vendor: str = ""
    product_serial: str = ""  # DMI
    product_uuid: str = ""  # DMI
    raspberry_pi: str = ""  # the serial in its device tree: sixteen hex digits
    machine_id: str = ""


def choose(facts: Facts) -> str:
    """Return the serial of the machine with these facts; "" where it says nothing of itself at all.

    The hardware goes before the disk, so that a reflashed machine stays who it is and two copies of one disk image do
    not; a technician's word goes before both.
    """
    if XO.fullmatch(facts.given) and facts.given != NOBODY:
        return facts.given
    if XO.fullmatch(facts.xo) and facts.xo != NOBODY:
        return facts.xo
    if _is_real(facts.product_serial):
        return "DMI" + _short(facts.vendor, facts.product_serial)
    if _is_real(facts.product_uuid.replace("-", "")):
        return "DMI" + _short("uuid", facts.product_uuid.lower())
    if _is_real(facts.raspberry_pi) and re.fullmatch(r"[0-9a-f]{8,16}", facts.raspberry_pi):
        return "RPI" + facts.raspberry_pi[-8:]
    if _is_real(facts.machine_id):
        return "MID" + _short("machine-id", facts.machine_id)
    return ""


def _is_real(value: str) -> bool:
    return len(value) >= 4 and not _PLACEHOLDERS.match(value)


def _short(*parts: str) -> str:
    """Return eight signs for `parts`: 40 bits, so that two of 3,000 laptops meet once in 240,000 schools."""
    digest = hashlib.sha256("\0".join(("xo-client", *parts)).encode()).digest()
    return base64.b32encode(digest[:5]).decode("ascii")


def this_machine(written: Path = WRITTEN) -> str:
    """Return the serial that root wrote at this start, else what a user can work out; "" where there is none."""
    return _read(written) or choose(read())


def main() -> int:
    """Write this machine's serial where every user can read it: `xo-serial.service`, as root, at each start."""
    WRITTEN.parent.mkdir(mode=0o755, exist_ok=True)
    WRITTEN.write_text(choose(read()) + "\n", encoding="ascii")
    return 0


def read(root: Path = Path("/")) -> Facts:
    """Return what this machine says of itself."""
    dmi = root / "sys/class/dmi/id"
    tree = root / "proc/device-tree"
    return Facts(
        given=_read(root / "etc/xo-client/serial"),
        xo=_read(root / "ofw/mfg-data/SN") or _read(tree / "mfg-data/SN"),
        vendor=_read(dmi / "sys_vendor"),
        product_serial=_read(dmi / "product_serial"),
        product_uuid=_read(dmi / "product_uuid"),
        raspberry_pi=_read(tree / "serial-number"),
        machine_id=_read(root / "etc/machine-id"),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""
