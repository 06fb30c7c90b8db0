# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab leaves on the machine, how to find it again after a crash, and how to take it away."""

from __future__ import annotations

import json
from pathlib import Path

from lab import places
from lab.trouble import call, installed, succeeds

LABEL = "xs-lab"


def labs() -> list[str]:
    """Return the names of every lab that has something on this machine, whoever started it."""
    shown = '{{index .Labels "' + LABEL + '"}}'
    names = set(call("podman", "ps", "-a", "--filter", f"label={LABEL}", "--format", shown).split())
    for network in json.loads(
        call("podman", "network", "ls", "--filter", f"label={LABEL}", "--format", "json") or "[]"
    ):
        names.add(network["labels"][LABEL])
    directory = places.lab("x").parent
    return sorted(names | ({one.name for one in directory.iterdir() if one.is_dir()} if directory.is_dir() else set()))


def remember(lab: str, container: str) -> None:
    """Note the number of the file system of `container`: a loop device that outlives it is known by that."""
    device = int(call("podman", "exec", container, "stat", "-c", "%d", "/"))
    with _devices(lab).open("a", encoding="utf-8") as file:
        # the kernel's 32-bit dev_t, as stat prints it, in losetup's spelling
        file.write(f"{(device >> 8) & 0xFFF}:{(device & 0xFF) | ((device >> 12) & 0xFFF00)}\n")


def remove(lab: str) -> None:
    """Remove the containers, loop devices and network of `lab`; the hosts may unmount first."""
    found = containers(lab)
    if found:
        call("podman", "stop", "-t", "20", *found, check=False)
        call("podman", "rm", "-f", "-t", "0", *found)
    for place in reversed(mounts(lab)):
        succeeds("umount", place)
    for loop in loops(lab):
        call("losetup", "-d", loop, check=False)
    for network in networks(lab):
        call("podman", "network", "rm", "-f", network)


def of(lab: str) -> list[str]:
    """Return what is left of `lab` on this machine, one line each; empty is as it should be."""
    return [
        *(f"container {one}" for one in containers(lab)),
        *(f"network {one}" for one in networks(lab)),
        *(f"mount {one}" for one in mounts(lab)),
        *(f"loop device {one}" for one in loops(lab)),
        *(f"ssh connection {one}" for one in places.sockets(lab).glob("*")),
    ]


def containers(lab: str) -> list[str]:
    """Return the names of the containers of `lab`, running or not."""
    return call("podman", "ps", "-a", "--filter", f"label={LABEL}={lab}", "--format", "{{.Names}}").split()


def networks(lab: str) -> list[str]:
    """Return the names of the networks of `lab`."""
    return call("podman", "network", "ls", "--filter", f"label={LABEL}={lab}", "--format", "{{.Name}}").split()


def loops(lab: str) -> list[str]:
    """Return the loop devices whose file lies in a host of `lab`."""
    if not _devices(lab).exists() or not installed("losetup"):
        return []
    ours = set(_devices(lab).read_text(encoding="utf-8").split())
    listed = json.loads(call("losetup", "--list", "--json", "-O", "NAME,BACK-MAJ:MIN") or '{"loopdevices": []}')
    # losetup pads what it lists, in JSON as well, and knows nothing of a device whose file is gone
    return [one["name"] for one in listed["loopdevices"] if (one["back-maj:min"] or "").strip() in ours]


def mounts(lab: str) -> list[str]:
    """Return where this machine has something of `lab` mounted: a loop device of its hosts, or below its files."""
    ours = set(loops(lab))
    listed = [line.split(" ")[:2] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    return [place for source, place in listed if source in ours or place.startswith(f"{places.lab(lab)}/")]


def _devices(lab: str) -> Path:
    return places.lab(lab) / "file-systems"
