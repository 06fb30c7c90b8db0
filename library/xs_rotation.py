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
  - Ages are days before the newest snapshot of the tree. Of a calendar week or month the first snapshot stays.
  - Unless the disk is full, the snapshots of at most two days of a tree go in 24 hours, whoever asks; the others' turn
    comes on the next days.
  - Where the disk is fuller than the role M(xs_snapshots) allows for, more goes, the heaviest learners' first.
  - A tree that cannot be rotated does not stop the others. The module fails at the end and names it.
version_added: "0.1.0"
options:
  keep_all_days:
    description:
      - Up to this age every snapshot stays.
      - By default what the role M(xs_snapshots) has set on the host, as for the other two.
    type: int
  keep_weekly_days:
    description:
      - Up to this age one snapshot of each week stays.
    type: int
  keep_monthly_days:
    description:
      - Up to this age one snapshot of each month stays; V(0) is for ever.
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
    keep_all_days: 14
    keep_weekly_days: 60
"""

RETURN = r"""
removed:
  description: The snapshots that were removed, and why; in check mode, that would be.
  returned: always
  type: list
  elements: dict
  sample:
    - tree: SHC12345678
      stamp: 2026-05-02T101500Z
      why: not the first of its month
kept:
  description: How many snapshots are left on the whole server.
  returned: always
  type: int
  sample: 412
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule

try:
    from schoolserver import datastore, rotation, rotation_trees, settings
    from schoolserver.errors import Refusal
    from schoolserver.house import House
    from schoolserver.rotation_plan import Policy

    INSTALLED = True
except ImportError:  # a bare host: check mode still has to tell the truth there
    INSTALLED = False

LEAST = {"keep_all_days": 1, "keep_weekly_days": 1, "keep_monthly_days": 0}
OPTIONS: dict[str, Any] = {name: {"type": "int"} for name in LEAST}


def policy_of(params: dict[str, int | None]) -> Policy:
    """Return the policy of the settings, with what `params` say otherwise; raise Refusal."""
    given = {name: days for name, days in params.items() if days is not None}
    for name, days in given.items():
        if days < LEAST[name]:
            raise Refusal(f"{name}: {days} is too few; give {LEAST[name]} or more")
    return rotation.policy_of(replace(settings.load("snapshots"), **given))


def run(where: House, policy: Policy, check_mode: bool) -> tuple[dict[str, Any], list[str]]:
    """Rotate all trees by `policy` unless `check_mode`; return the module's result, and what could not be done."""
    before = [(tree.name, name) for tree in datastore.trees(where.users) for name in rotation_trees.names(tree)]
    removed: dict[tuple[str, str], str] = {}
    failed: list[str] = []
    space = rotation.space_of(where.users)
    for outcome in rotation.rotate(where, policy, space, datetime.now(UTC), dry_run=check_mode):
        goes = outcome.plan.named(keep=False)
        removed |= {(outcome.tree, name): goes[name].why for name in outcome.removed}
        if outcome.error:
            failed.append(f"{outcome.tree}: {outcome.error}")
    after = [snapshot for snapshot in before if snapshot not in removed]
    result = {
        "changed": bool(removed),
        "removed": [{"tree": tree, "stamp": stamp, "why": why} for (tree, stamp), why in removed.items()],
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
    if not INSTALLED or not House().users.is_dir():
        if module.check_mode:
            module.exit_json(changed=False, removed=[], kept=0, msg="the school server is not set up yet")
        module.fail_json(msg="the school server is not set up here: run playbooks/site.yml first")
    try:
        result, failed = run(House(), policy_of(module.params), module.check_mode)
    except (Refusal, OSError) as error:
        module.fail_json(msg=str(error))
    if failed:
        module.fail_json(msg=f"not rotated: {'; '.join(failed)}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
