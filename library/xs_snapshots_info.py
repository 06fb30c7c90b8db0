#!/usr/bin/python
# Copyright: (c) 2026, the XS founders
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell which snapshots a school server has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: xs_snapshots_info
short_description: Tell which snapshots a school server has
description:
  - Returns what C(xs snapshot list --json) prints, of one tree or of all.
version_added: "0.1.0"
options:
  tree:
    description:
      - The tree, as C(xs laptop list) names it; all when it is left out.
    type: str
attributes:
  check_mode:
    description: Changes nothing anyhow.
    support: full
  diff_mode:
    description: Changes nothing anyhow.
    support: full
requirements:
  - The Debian package C(schoolserver) on the host; the role M(xs_package) installs it.
author:
  - The XS founders
"""

EXAMPLES = r"""
- name: See what a restore would offer
  xs_snapshots_info:
    tree: SHC12345678
"""

RETURN = r"""
trees:
  description: One entry for each tree, by name.
  returned: always
  type: list
  elements: dict
  sample:
    - tree: SHC12345678
      snapshots:
        - stamp: 2026-11-23T101500Z
          pinned: [bulk-loss]
        - stamp: 2026-11-24T101500Z
          pinned: []
      best: 2026-11-23T101500Z
      why: bulk-loss
      documents_history: [2026-11-24T101530Z]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

try:
    from schoolserver import cli_snapshot, datastore, paths
    from schoolserver.errors import Refusal

    INSTALLED = True
except ImportError:  # a bare host
    INSTALLED = False

OPTIONS: dict[str, Any] = {"tree": {"type": "str"}}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    if not INSTALLED or not paths.USERS.is_dir():
        module.exit_json(changed=False, trees=[], msg="the school server is not set up yet")
    wanted = module.params["tree"]
    try:
        found = [cli_snapshot.overview(at) for at in datastore.trees(paths.USERS) if wanted in (None, at.name)]
    except (Refusal, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, trees=found)


if __name__ == "__main__":
    main()
