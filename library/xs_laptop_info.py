#!/usr/bin/python
# Copyright: (c) 2026, the XS founders
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell which laptops a school server knows."""

from __future__ import annotations

DOCUMENTATION = r"""
module: xs_laptop_info
short_description: Tell which laptops a school server knows
description:
  - Returns what C(xs laptop list --json) prints on the school server.
version_added: "0.1.0"
options:
  serial:
    description:
      - Only the trees of the child of this laptop (a serial or a tree).
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
- name: See who is registered
  xs_laptop_info:
  register: school

- name: Show whose laptops wait for a word from the teacher
  ansible.builtin.debug:
    msg: "{{ school.laptops | selectattr('state', 'eq', 'waiting') | map(attribute='tree') }}"
"""

RETURN = r"""
laptops:
  description: One entry for each tree, by time of registration.
  returned: always
  type: list
  elements: dict
  sample:
    - tree: SHC12345678
      learner: SHC12345678
      login: SHC12345678
      names: [SHC12345678]
      writes: SHC12345678
      uid: 20000
      nick: Jim
      class: 4B
      state: in use
      uuid: 12345678-9abc-def0-1234-56789abcdef0
      registered: "2026-11-23T10:15:00Z"
      latest: 2026-11-25T101500Z
      address: 172.18.0.77
      client: Python-urllib/2.7
      seen: "2026-11-25T10:14:58Z"
      keys:
        - type: ssh-dss
          fingerprint: SHA256:u8fYf3F1sDXtbZVWcBwYI5ZTn6m3c6Vd0Uux3pVdPcE
          since: "2026-11-23T10:15:00Z"
      approvals: []
damaged:
  description: Trees whose account.json cannot be read, and why.
  returned: always
  type: list
  elements: dict
  sample: []
refused:
  description: Who was refused lately, and why; the newest last.
  returned: always
  type: list
  elements: dict
  sample:
    - serial: SHF00000000
      nick: Ann
      address: 172.18.0.78
      why: the serial is no one's
      last: "2026-11-25T10:14:58Z"
      times: 3
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

try:
    from schoolserver import overview, paths
    from schoolserver.errors import Refusal

    INSTALLED = True
except ImportError:  # a bare host
    INSTALLED = False

OPTIONS: dict[str, Any] = {"serial": {"type": "str"}}


def run(serial: str | None) -> dict[str, Any]:
    """Return what is known, of the child of `serial` only where it is given; raise OSError."""
    everything = overview.everything()
    if serial:
        mine = {one["learner"] for one in everything["laptops"] if serial in (one["tree"], *one["names"])}
        everything["laptops"] = [one for one in everything["laptops"] if one["learner"] in mine]
    return everything


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    if not INSTALLED or not paths.USERS.is_dir():
        module.exit_json(changed=False, laptops=[], damaged=[], refused=[], msg="the school server is not set up yet")
    try:
        module.exit_json(changed=False, **run(module.params["serial"]))
    except (Refusal, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
