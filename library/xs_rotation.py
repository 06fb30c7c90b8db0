#!/usr/bin/python
# Copyright: (c) 2026, the XS founders
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply the rotation policy on a school server now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: xs_rotation
short_description: Remove the snapshots that the policy no longer keeps
description:
  - Does now what the school server's timer does at night. Plans first, then removes.
  - The newest snapshot of a tree stays, and so does every pinned one. Keepsakes are never touched.
  - The same goes for the history of a tree's plain documents, whose snapshots are called C(documents-history/<stamp>).
  - At most two snapshots of a tree go in 24 hours, whoever asks; the others' turn comes on the next days.
  - A tree that cannot be rotated does not stop the others. The module fails at the end and names it.
version_added: "0.1.0"
options:
  keep_days:
    description:
      - A snapshot that is this many days older than the newest of its tree goes.
      - By default what the role M(xs_snapshots) has set on the host.
    type: int
attributes:
  check_mode:
    description:
      - Returns the exact plan and removes nothing.
      - Where the school server is not set up yet, there is nothing to remove.
    support: full
  diff_mode:
    description: Shows the snapshots before and after.
    support: full
requirements:
  - The Debian package C(schoolserver) on the host; the role M(xs_package) installs it.
author:
  - The XS founders
"""

EXAMPLES = r"""
- name: Make room before the holidays
  xs_rotation:
    keep_days: 60
"""

RETURN = r"""
removed:
  description: The snapshots that were removed; in check mode, that would be.
  returned: always
  type: list
  elements: dict
  sample:
    - tree: SHC12345678
      stamp: 2026-05-02T101500Z
kept:
  description: How many snapshots are left on the whole server.
  returned: always
  type: int
  sample: 412
"""

from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule

try:
    from schoolserver import paths, rotation, settings
    from schoolserver.errors import Refusal

    INSTALLED = True
except ImportError:  # a bare host: check mode still has to tell the truth there
    INSTALLED = False

OPTIONS: dict[str, Any] = {"keep_days": {"type": "int"}}


def run(keep_days: int, check_mode: bool) -> tuple[dict[str, Any], list[str]]:
    """Rotate every tree by `keep_days` unless `check_mode`; return the module's result, and what could not be done."""
    trees = rotation.trees_in(paths.USERS)
    before = [(tree.name, name) for tree in trees for name in rotation.names(tree)]
    removed: list[tuple[str, str]] = []
    failed: list[str] = []
    for tree, stamps, error in rotation.rotate_all(paths.USERS, keep_days, datetime.now(UTC), dry_run=check_mode):
        removed += [(tree.name, stamp) for stamp in stamps]
        if error:
            failed.append(f"{tree.name}: {error}")
    after = [snapshot for snapshot in before if snapshot not in removed]
    result = {
        "changed": bool(removed),
        "removed": [{"tree": tree, "stamp": stamp} for tree, stamp in removed],
        "kept": len(after),
        "diff": {"before": listing(before), "after": listing(after)},
    }
    return result, failed


def listing(snapshots: list[tuple[str, str]]) -> str:
    """Return one line for each of `snapshots`, as a diff shows them."""
    return "".join(f"{tree}/{name if '/' in name else f'datastore/{name}'}\n" for tree, name in snapshots)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    if not INSTALLED or not paths.USERS.is_dir():
        if module.check_mode:
            module.exit_json(changed=False, removed=[], kept=0, msg="the school server is not set up yet")
        module.fail_json(msg="the school server is not set up here: run playbooks/site.yml first")
    keep_days = module.params["keep_days"]
    if keep_days is not None and keep_days < 1:
        module.fail_json(msg=f"keep_days: {keep_days} would keep nothing but the newest; give 1 or more")
    try:
        result, failed = run(keep_days or settings.load("snapshots").keep_days, module.check_mode)
    except (Refusal, OSError) as error:
        module.fail_json(msg=str(error))
    if failed:
        module.fail_json(msg=f"not rotated: {'; '.join(failed)}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
