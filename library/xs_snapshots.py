#!/usr/bin/python
# Copyright: (c) 2026, the XS founders
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take snapshots now, keep one, or let one go."""

from __future__ import annotations

DOCUMENTATION = r"""
module: xs_snapshots
short_description: Take snapshots now, keep one, or let one go
description:
  - What C(xs snapshot take|pin|unpin) does on the school server.
version_added: "0.1.0"
options:
  tree:
    description:
      - The tree, as C(xs laptop list) names it. With V(taken), all trees when it is left out.
    type: str
  state:
    description:
      - V(taken) takes what completed backups still wait for, such as before work on the disk. A backup that is under
        way or broke off is never taken.
      - V(pinned) keeps the snapshot O(stamp), whatever rotation does.
      - V(unpinned) lets it go when its time comes, whatever it was pinned for. That is the act of a person that the
        server waits for where documents have their last copy in it.
    type: str
    choices: [taken, pinned, unpinned]
    default: taken
  stamp:
    description:
      - The snapshot to pin or unpin, such as V(2026-11-23T101500Z).
    type: str
  why:
    description:
      - Why it is pinned, in a few words for those who come later.
    type: str
    default: a person's
attributes:
  check_mode:
    description:
      - Says what would change and changes nothing.
      - Where the school server is not set up yet, there is nothing to take.
    support: full
  diff_mode:
    description: Shows the snapshots, or pins.json, before and after.
    support: full
requirements:
  - The Debian package C(schoolserver) on the host; the role M(xs_package) installs it.
author:
  - The XS founders
"""

EXAMPLES = r"""
- name: Take what waits, before the disk is changed
  xs_snapshots:

- name: Keep the state before the exhibition
  xs_snapshots:
    tree: SHC12345678
    state: pinned
    stamp: 2026-11-23T101500Z
    why: before the exhibition
"""

RETURN = r"""
taken:
  description: The trees whose waiting backup was taken; in check mode, would be.
  returned: with O(state=taken)
  type: list
  elements: str
  sample: [SHC12345678]
said:
  description: One line for a person.
  returned: with O(state=pinned) or O(state=unpinned)
  type: str
  sample: 2026-11-23T101500Z stays, whatever rotation does
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

try:
    from schoolserver import cli_laptop, datastore, engines, paths, pinning, pins, snapshot
    from schoolserver.audit import Who
    from schoolserver.errors import Refusal
    from schoolserver.house import House

    INSTALLED = True
except ImportError:  # a bare host: check mode still has to tell the truth there
    INSTALLED = False

OPTIONS: dict[str, Any] = {
    "tree": {"type": "str"},
    "state": {"type": "str", "choices": ["taken", "pinned", "unpinned"], "default": "taken"},
    "stamp": {"type": "str"},
    "why": {"type": "str", "default": "a person's"},
}


def take(name: str | None, check_mode: bool) -> dict[str, Any]:
    """Take what waits in the tree `name`, or in all, unless `check_mode`; raise Refusal or OSError."""
    trees = [tree for tree in datastore.trees(paths.USERS) if name in (None, tree.name)]
    if name is not None and not trees:
        raise Refusal(f"no tree is called {name}: see `xs laptop list`")
    before, taken = listing(trees), []
    for tree in trees:
        if snapshot.waits(tree, datetime.now(UTC)):
            taken.append(tree.name)
            if not check_mode:
                snapshot.take(tree, datetime.now(UTC), paths.CATALOG)
    return {"changed": bool(taken), "taken": taken, "diff": {"before": before, "after": listing(trees)}}


def listing(trees: list[Path]) -> str:
    """Return one line for each snapshot of `trees`, as a diff shows them."""
    return "".join(
        f"{tree.name}/{kind.snapshots}/{stamp}\n"
        for tree in trees
        for kind in engines.KINDS
        for stamp in datastore.snapshots(tree, kind.snapshots)
    )


def hold(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Pin or unpin the snapshot in `params` unless `check_mode`; return the result; raise Refusal or OSError."""
    person = cli_laptop.who_am_i()
    who = Who(f"{person.name} with Ansible", person.place)
    tree, stamp = params["tree"], params["stamp"]
    if params["state"] == "pinned":
        change = pinning.pin(House(), tree, stamp, params["why"], who, check=check_mode)
    else:
        change = pinning.unpin(House(), tree, stamp, who, check=check_mode)
    return {
        "changed": change.changed,
        "said": change.said,
        "diff": {"before": pins.render(change.before), "after": pins.render(change.after)},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=OPTIONS,
        supports_check_mode=True,
        required_if=[("state", "pinned", ("tree", "stamp")), ("state", "unpinned", ("tree", "stamp"))],
    )
    if not INSTALLED or not paths.USERS.is_dir():
        if module.check_mode:
            module.exit_json(changed=False, taken=[], msg="the school server is not set up yet")
        module.fail_json(msg="the school server is not set up here: run playbooks/site.yml first")
    try:
        if module.params["state"] == "taken":
            module.exit_json(**take(module.params["tree"], module.check_mode))
        module.exit_json(**hold(module.params, module.check_mode))
    except (Refusal, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
