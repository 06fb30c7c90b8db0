# SPDX-License-Identifier: GPL-3.0-or-later
"""The school server as its technician sees it: as root, with the `xs` command and a look at the files."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from typing import Any

from testinfra.host import Host

from laptop import Documents

USERS = "/library/users"
# Who is who, and all that follows from it.
IDENTITY = (
    f"{USERS}/*/account.json",
    "/etc/xs/keys/*",
    "/etc/xs/school-key",
    "/etc/xs/learners/*",
    "/var/lib/extrausers/passwd",
    "/var/lib/extrausers/group",
)


class Server:
    """One school server."""

    def __init__(self, host: Host, address: str) -> None:
        self.host = host
        self.address = address

    def run(self, command: str) -> str:
        """Run a shell command and return what it printed; fail if it failed."""
        return str(self.host.check_output(command))

    def xs(self, *words: str) -> str:
        """Type `xs …` and return what it printed; fail if it failed."""
        return self.run(shlex.join(["xs", *words]))

    def refusal(self, *words: str) -> str:
        """Type `xs …` and return why it refused; fail if it did not."""
        done = self.host.run(shlex.join(["xs", *words]))
        assert done.rc != 0, f"it was not refused, and said {done.stdout!r}"
        return str(done.stderr)

    def laptops(self) -> dict[str, dict[str, Any]]:
        """Return {tree: what `xs laptop list` shows of it}."""
        return {one["tree"]: one for one in json.loads(self.xs("laptop", "list", "--json"))["laptops"]}

    def account(self, tree: str) -> dict[str, Any]:
        """Return what stands in the account.json of `tree`."""
        account = json.loads(self.run(f"cat {USERS}/{tree}/account.json"))
        assert isinstance(account, dict)
        return account

    def identity(self, *, times: bool = False) -> list[str]:
        """Return every file that says who is who, with owner, mode and checksum; with `times` also when it changed."""
        form = "%n %a %U:%G" + (" %y %i" if times else "")
        files = f"shopt -s nullglob; files=({' '.join(IDENTITY)})"
        look = f"{files}; stat --format '{form}' ${{files[@]}}; sha256sum ${{files[@]}}; true"
        return self.run(shlex.join(["bash", "-c", look])).splitlines()

    def stamps(self, tree: str) -> list[str]:
        """Return the stamps of the snapshots of `tree`, oldest first."""
        return self.run(f"ls {USERS}/{tree}/datastore").split()

    def kept(self, trees: Iterable[str]) -> dict[str, set[tuple[str, ...]]]:
        """Return every copy of every document in the newest snapshots and the keepsakes of `trees`, by uid."""
        places = " ".join(f"{tree}/datastore-latest/?? {tree}/keepsakes" for tree in trees)
        look = f"cd {USERS} && find {places} -type f -exec sha256sum {{}} + 2>/dev/null; true"
        copies: dict[tuple[str, str], list[str]] = {}
        for line in self.run(look).splitlines():
            checksum, path = line.split("  ", 1)
            tree, kind, first, second, name = path.split("/", 4)
            if kind == "keepsakes":
                copies.setdefault((first, f"{tree} {second}"), []).append(f"{checksum}  {name}")
            else:
                copies.setdefault((second, tree), []).append(f"{checksum}  {name}")
        found: dict[str, set[tuple[str, ...]]] = {}
        for (uid, _), files in copies.items():
            found.setdefault(uid, set()).add(tuple(sorted(files)))
        return found

    def lost(self, wanted: Documents, *trees: str) -> list[str]:
        """Return the uids out of `wanted` that the newest snapshots and keepsakes of `trees` do not hold just so."""
        kept = self.kept(trees)
        return [uid for uid, files in wanted.items() if files not in kept.get(uid, set())]
