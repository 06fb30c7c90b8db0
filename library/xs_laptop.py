#!/usr/bin/python
# Copyright: (c) 2026, the XS founders
# SPDX-License-Identifier: GPL-3.0-or-later
"""Register laptops on a school server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: xs_laptop
short_description: Register a laptop on a school server
description:
  - Gives a laptop its tree, its login name and its key on the school server, as if it had registered itself, with the
    same checks and the same words of refusal.
  - A laptop that is registered already is left alone, but for its nick.
  - A known serial with a new key gets a further tree. It sees nothing of the old one.
version_added: "0.1.0"
options:
  serial:
    description:
      - The laptop's serial number; it becomes its login name.
    type: str
    required: true
  nick:
    description:
      - What the child is called on the laptop. When left out, a nick that the laptop sent itself stays.
    type: str
  uuid:
    description:
      - The laptop's uuid, as the laptop sends it.
    type: str
    required: true
  pubkey:
    description:
      - The laptop's public key, as in C(owner.key.pub), with or without the type in front.
    type: str
    required: true
  state:
    description:
      - V(present) registers the laptop.
    type: str
    choices: [present]
    default: present
attributes:
  check_mode:
    description:
      - Says what would change and changes nothing.
      - Where the school server is not set up yet, it says that it would register the laptop.
    support: full
  diff_mode:
    description: Shows account.json before and after.
    support: full
requirements:
  - The Debian package C(schoolserver) on the host; the role M(xs_package) installs it.
author:
  - The XS founders
"""

EXAMPLES = r"""
- name: Register the laptops on the school's list
  xs_laptop:
    serial: "{{ item.serial }}"
    nick: "{{ item.nick | default(omit) }}"
    uuid: "{{ item.uuid }}"
    pubkey: "{{ item.pubkey }}"
  loop: "{{ xs_registration_laptops }}"
"""

RETURN = r"""
login:
  description: The name with which the laptop logs in.
  returned: when the package is installed
  type: str
  sample: SHC12345678
tree:
  description: The directory below /library/users that the laptop's key writes.
  returned: when the package is installed
  type: str
  sample: SHC12345678
"""

from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule

try:
    from schoolserver import accounts, identity, paths, registrar
    from schoolserver.errors import Refusal

    INSTALLED = True
except ImportError:  # a bare host: check mode still has to tell the truth there
    INSTALLED = False

OPTIONS: dict[str, Any] = {
    "serial": {"type": "str", "required": True},
    "nick": {"type": "str"},
    "uuid": {"type": "str", "required": True},
    "pubkey": {"type": "str", "required": True, "no_log": False},
    "state": {"type": "str", "choices": ["present"], "default": "present"},
}


def run(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Register the laptop in `params` unless `check_mode`; return the module's result; raise Refusal or OSError."""
    message = {name: params[name] for name in ("serial", "nick", "uuid", "pubkey")}
    known = registrar.consistent(accounts.read_all(paths.USERS))
    if message["nick"] is None:
        message["nick"] = nick_of(identity.parse_key(params["pubkey"]), known)
    plan = registrar.decide(known, registrar.check(message), datetime.now(UTC))
    before = known.accounts.get(plan.account.tree)
    if plan.changed and not check_mode:
        plan = registrar.register(message)
    header = str(paths.USERS / plan.account.tree / accounts.FILE)
    return {
        "changed": plan.changed,
        "login": plan.login,
        "tree": plan.account.tree,
        "diff": {
            "before_header": header,
            "after_header": header,
            "before": accounts.to_json(before) if before else "",
            "after": accounts.to_json(plan.account),
        },
    }


def nick_of(key: identity.Key, known: accounts.Known) -> str:
    """Return the nick that the laptop with `key` has among the `known` accounts; "" when it has none."""
    mine = (one.nick for one in known.accounts.values() if any(its.blob == key.blob for its in one.keys))
    return next(mine, "")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    if not INSTALLED or not paths.USERS.is_dir():
        if module.check_mode:
            module.exit_json(changed=True, msg="the school server is not set up yet: would register the laptop")
        module.fail_json(msg="the school server is not set up here: run playbooks/site.yml first")
    try:
        module.exit_json(**run(module.params, module.check_mode))
    except (Refusal, OSError) as error:
        module.fail_json(msg=f"{module.params['serial']}: {error}")


if __name__ == "__main__":
    main()
