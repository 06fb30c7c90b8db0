#!/usr/bin/python
# Copyright: (c) 2026, the XS founders
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say which laptops a school has, and whose they are."""

from __future__ import annotations

DOCUMENTATION = r"""
module: xs_laptop
short_description: Say which laptops a school has, and whose they are
description:
  - Registers a laptop, puts it in store, forgets it, or says that it is the same child's as another one; of one laptop
    or of a whole list in one task. The checks and the words of refusal are those of the registration service.
  - Decides first and writes then. Where one line of a list is refused, nothing is changed, and the message has a line
    for each.
  - A known serial with a new key gets a further tree. It sees nothing of the old one until O(joins) says so.
  - Who is listed here may register whatever O(xs_registration_newcomers) says.
version_added: "0.1.0"
options:
  serial:
    description:
      - The laptop's serial number; it becomes its login name. Or one of its trees that is there, such as
        C(SHC12345678.2).
    type: str
  nick:
    description:
      - What the child is called on the laptop. When left out, a nick that the laptop sent itself stays.
    type: str
  uuid:
    description:
      - The laptop's uuid, as the laptop sends it. Needed beside O(pubkey).
    type: str
  pubkey:
    description:
      - The laptop's public key, as in C(owner.key.pub), with or without the type in front.
      - When left out, the laptop registers itself; until then it is in RV(waiting), and what else is said of it waits.
    type: str
  class:
    description:
      - The school class that the child is in. When left out, it stays as it is.
    type: str
  joins:
    description:
      - The serial (or the tree) of a laptop of the same child. A replaced laptop then reads the old documents beside
        its own. A reflashed one, which joins its own O(serial), writes its old tree again. An empty text takes that
        back.
    type: str
  state:
    description:
      - V(present) registers the laptop, and takes it out of store.
      - V(retired) puts it in store. Its key opens nothing, its documents stay the child's.
      - V(absent) forgets it. Its documents stay, unless O(documents) says otherwise.
    type: str
    choices: [present, absent, retired]
    default: present
  documents:
    description:
      - What becomes of the documents of a laptop that is V(absent). With V(delete_for_ever) nothing brings them back;
        RV(documents_deleted) says how many they were.
    type: str
    choices: [keep, delete_for_ever]
    default: keep
  laptops:
    description:
      - A list of laptops, each a dictionary of O(serial), O(nick), O(uuid), O(pubkey), O(class), O(joins) and O(state).
    type: list
    elements: dict
  csv:
    description:
      - The same as the text of a spreadsheet saved as CSV, whose first line names the columns. An empty cell says
        nothing.
    type: str
attributes:
  check_mode:
    description:
      - Says what would change and changes nothing.
      - Where the school server is not set up yet, it says whether it would register laptops.
    support: full
  diff_mode:
    description: Shows every account.json that changes, before and after.
    support: full
requirements:
  - The Debian package C(schoolserver) on the host; the role M(xs_package) installs it.
author:
  - The XS founders
"""

EXAMPLES = r"""
- name: Register the laptops on the school's list
  xs_laptop:
    laptops: "{{ xs_registration_laptops }}"

- name: The same from a spreadsheet on the controller
  xs_laptop:
    csv: "{{ lookup('ansible.builtin.file', 'laptops.csv') }}"

- name: Jocinta got a new laptop for her broken one
  xs_laptop:
    serial: SHC00000022
    joins: SHC00000011

- name: The broken one goes into store
  xs_laptop:
    serial: SHC00000011
    state: retired
"""

RETURN = r"""
login:
  description: The name with which the laptop logs in.
  returned: for one laptop that is registered
  type: str
  sample: SHC12345678
tree:
  description: The directory below /library/users that registering it made, or had made.
  returned: for one laptop that is registered
  type: str
  sample: SHC12345678
waiting:
  description: Serials without a key that have not registered yet.
  returned: when the package is installed
  type: list
  elements: str
  sample: [SHC00000033]
documents_deleted:
  description: How many documents were deleted for ever; in check mode, how many would be.
  returned: when O(documents=delete_for_ever)
  type: int
  sample: 812
"""

from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule

try:
    from schoolserver import accounts, acts, cli_laptop, erasure, house, paths, registrar, school_list
    from schoolserver.audit import Who
    from schoolserver.errors import Refusal
    from schoolserver.house import House
    from schoolserver.learners import Learners

    INSTALLED = True
except ImportError:  # a bare host: check mode still has to tell the truth there
    INSTALLED = False

OPTIONS: dict[str, Any] = {
    "serial": {"type": "str"},
    "nick": {"type": "str"},
    "uuid": {"type": "str"},
    "pubkey": {"type": "str", "no_log": False},
    "class": {"type": "str"},
    "joins": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent", "retired"], "default": "present"},
    "documents": {"type": "str", "choices": ["keep", "delete_for_ever"], "default": "keep"},
    "laptops": {"type": "list", "elements": "dict"},
    "csv": {"type": "str"},
}
OF_ONE = ("nick", "uuid", "pubkey", "class", "joins")


def entries(params: dict[str, Any]) -> list[school_list.Entry]:
    """Return the lines that `params` ask for; raise Refusal."""
    lines = params["laptops"]
    if params["csv"] is not None:
        lines = school_list.parse_csv(params["csv"])
    elif lines is None:
        lines = [{name: params[name] for name in school_list.COLUMNS}]
    found: list[school_list.Entry] = []
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(school_list.from_mapping(line))
        except Refusal as refusal:
            problems.append(f"{line.get('serial') or f'laptop {number} of the list'}: {refusal}")
    if problems:
        raise Refusal("; ".join(problems))
    return found


def apply_list(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Make the laptops in `params` as they are wanted, or with `check_mode` plan it; raise Refusal or OSError."""
    lines, rules, act = entries(params), registrar.load_own_rules(), acts.Act(who(), datetime.now(UTC))
    wanted: list[school_list.Wanted] = []

    def decide(known: accounts.Known) -> acts.Change:
        wanted[:] = [school_list.decide(known, lines, rules, act)]
        return wanted[0].change

    change = acts.carry_out(House(), act, decide, check_mode)
    result = {**said(change), "waiting": list(wanted[0].waiting)}
    if params["serial"] and wanted[0].accounts:
        ((login, account),) = wanted[0].accounts
        result |= {"login": login, "tree": account.tree}
    return result


def delete(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Forget the laptop in `params` and delete its documents unless `check_mode`; raise Refusal or OSError."""
    known = house.read(House())
    unknown = Learners(known.accounts).holder(params["serial"]) is None
    if unknown and params["serial"].removesuffix(".1") not in known.accounts.keys() | known.damaged.keys():
        return {"changed": False, "waiting": [], "documents_deleted": 0}
    planned = acts.remove(House(), params["serial"], who(), documents=True, check=True)
    number = erasure.count(paths.USERS, [after.tree for _, after in planned.steps])
    if not check_mode:
        acts.remove(House(), params["serial"], who(), documents=True)
    before = "".join(accounts.to_json(one) for one, _ in planned.steps if one)
    return {
        "changed": True, "waiting": [], "documents_deleted": number, "msg": planned.said,
        "diff": {"before": before, "after": ""},
    }  # fmt: skip


def said(change: acts.Change) -> dict[str, Any]:
    """Return `change` as Ansible shows it."""
    steps = [(before, after) for before, after in change.steps if before != after]
    return {
        "changed": bool(steps),
        "diff": [
            {
                "before_header": str(paths.USERS / after.tree / accounts.FILE),
                "after_header": str(paths.USERS / after.tree / accounts.FILE),
                "before": accounts.to_json(before) if before else "",
                "after": accounts.to_json(after),
            }
            for before, after in steps
        ],
    }


def would_register(params: dict[str, Any]) -> bool:
    """Say whether `params` name a laptop with a key: on a bare host, all others wait until they register."""
    lines = [params] if params["serial"] else params["laptops"] or []
    listed = [line for line in lines if line.get("pubkey") and line.get("state") != "absent"]
    return bool(listed) or bool(params["csv"])


def who() -> Who:
    """Return who runs this playbook, for the audit trail."""
    person = cli_laptop.who_am_i()
    return Who(f"{person.name} with Ansible", person.place)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=OPTIONS,
        supports_check_mode=True,
        mutually_exclusive=[("serial", "laptops", "csv")],
        required_one_of=[("serial", "laptops", "csv")],
        required_together=[("uuid", "pubkey")],
        required_by=dict.fromkeys(OF_ONE, "serial"),
    )
    delete_all = module.params["documents"] == "delete_for_ever"
    if delete_all and (module.params["state"] != "absent" or not module.params["serial"]):
        module.fail_json(msg="documents: delete_for_ever goes with one serial and state: absent")
    if module.params["state"] != "present" and module.params["serial"] is None:
        module.fail_json(msg="state goes with one serial: in a list each laptop has its own")
    if not INSTALLED or not paths.USERS.is_dir():
        if module.check_mode:
            module.exit_json(changed=would_register(module.params), msg="the school server is not set up yet")
        module.fail_json(msg="the school server is not set up here: run playbooks/site.yml first")
    try:
        do = delete if delete_all else apply_list
        module.exit_json(**do(module.params, module.check_mode))
    except (Refusal, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
