# SPDX-License-Identifier: GPL-3.0-or-later
"""What this laptop says of itself: power from the kernel, the network's price from NetworkManager."""

from __future__ import annotations

import subprocess
from pathlib import Path

from xo_client.conditions import Facts, Power

_MANAGER = "org.freedesktop.NetworkManager"
_COSTS = ("u 1", "u 3")  # NM_METERED_YES, NM_METERED_GUESS_YES


def facts(profile: Path) -> Facts:
    """Return what is known without asking anybody else."""
    return Facts((profile / "datastore").is_dir(), power(), metered())


def power(supplies: Path = Path("/sys/class/power_supply")) -> Power:
    """Return what feeds the laptop; a machine that says nothing hangs on the mains."""
    mains, percents = [], []
    for supply in sorted(supplies.glob("*")):
        kind = _read(supply / "type")
        if _read(supply / "scope") == "Device":  # a mouse
            continue
        if kind == "Battery" and _read(supply / "capacity").isdigit():
            percents.append(int(_read(supply / "capacity")))
            if _read(supply / "status") in ("Charging", "Full"):  # an XO's mains can be silent
                mains.append(True)
        elif kind in ("Mains", "USB"):
            mains.append(_read(supply / "online") not in ("0", ""))
    return Power(any(mains) if percents else True, max(percents) if percents else None)


def metered() -> bool:
    """Say whether the network costs money for each byte, as far as NetworkManager knows."""
    try:
        ended = subprocess.run(
            ["busctl", "--system", "get-property", _MANAGER, "/" + _MANAGER.replace(".", "/"), _MANAGER, "Metered"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.stdout.decode("ascii", "replace").strip() in _COSTS


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
