#!/usr/bin/python
# Copyright: (c) 2026, the XS founders
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell how a school server rotates its snapshots, and how the last time went."""

from __future__ import annotations

DOCUMENTATION = r"""
module: xs_rotation_info
short_description: Tell how a school server rotates its snapshots
description:
  - Returns the policy, how full the disk is, and how the last rotation went.
  - What the next one would remove M(xs_rotation) says in check mode.
version_added: "0.1.0"
options: {}
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
- name: See whether the last rotation went well
  xs_rotation_info:
  register: rotation
  failed_when: rotation.last.stopped | default('') or rotation.last.failed | default({})
"""

RETURN = r"""
policy:
  description: For how many days of age everything, one a week and one a month stay; V(0) months are for ever.
  returned: always
  type: dict
  sample: {all_days: 30, weekly_days: 120, monthly_days: 0}
space:
  description: How full the disk is, from where on histories get shorter, and up to where backups are taken, in percent.
  returned: always
  type: dict
  sample: {used: 41.5, thin: 80, full: 90}
last:
  description:
    - When the last rotation ended, in UTC, how many snapshots it removed, why it stopped, and which trees failed.
    - Nothing before the first.
  returned: always
  type: dict
  sample: {ended: 2026-11-23T021500Z, removed: 12, stopped: "", failed: {}}
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule

try:
    from schoolserver import rotation, rotation_record, settings
    from schoolserver.errors import Refusal
    from schoolserver.house import House

    INSTALLED = True
except ImportError:  # a bare host
    INSTALLED = False

OPTIONS: dict[str, Any] = {}


def tell(where: House) -> dict[str, Any]:
    """Return the module's result for the school server at `where`; raise Refusal or OSError."""
    last = rotation_record.read(where.state / rotation_record.FILE).last
    return {
        "policy": asdict(rotation.policy_of(settings.load("snapshots"))),
        "space": asdict(rotation.space_of(where.users)),
        "last": asdict(last) if last else {},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    if not INSTALLED or not House().users.is_dir():
        module.exit_json(changed=False, policy={}, space={}, last={}, msg="the school server is not set up yet")
    try:
        module.exit_json(changed=False, **tell(House()))
    except (Refusal, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
