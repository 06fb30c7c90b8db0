# SPDX-License-Identifier: GPL-3.0-or-later
"""account.json: the truth about one tree (docs/architecture.md). Everything under /var is derived from these."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from schoolserver import durable
from schoolserver.errors import Refusal
from schoolserver.identity import check_class, check_nick, parse_key
from schoolserver.names import TREE

FILE = "account.json"
FORMAT = 2  # 1 had no class and no retired
FIRST_UID, LAST_UID = 20000, 59999
JOINED, HANDED_ON = "joined", "handed-on"


@dataclass(frozen=True)
class AccountKey:
    """A public key that writes a tree: type and base64 blob as in a key file, and the server time it came."""

    type: str
    blob: str
    since: str


@dataclass(frozen=True)
class Approval:
    """What a person said of this tree, or the school's rule in a person's stead."""

    did: str  # JOINED to the learner `tree`; or HANDED_ON: its laptop's names and keys were `tree`'s until then
    tree: str
    when: str  # server time, UTC
    by: str  # who said so, and from where


@dataclass(frozen=True)
class Account:
    """One tree: whose it is, who may write it."""

    tree: str  # its directory's name
    learner: str  # this tree, or the one it was joined to: the line that an approval writes (learners.py reads it)
    names: tuple[str, ...]  # login names; a further tree has none of its own and uses its serial's
    uid: int  # and gid; shared by a serial's further trees
    keys: tuple[AccountKey, ...]
    nick: str
    uuid: str
    registered: str  # server time, UTC, like 2026-11-23T10:00:00Z
    approvals: tuple[Approval, ...] = ()
    class_name: str = ""  # "class" in the file: the school's own word, such as 4B
    retired: str = ""  # server time since when the laptop is in store, "" while it is in use

    @property
    def serial(self) -> str:
        """The serial that the tree is named after: a login name with the tree's uid."""
        return self.tree.partition(".")[0]


@dataclass(frozen=True)
class Known:
    """All accounts by tree; and the directories whose account cannot be read, with the reason."""

    accounts: dict[str, Account] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    uids: frozenset[int] = frozenset()  # every uid that owns a tree, readable account or not
    others: int = 0  # laptops with a key that are not in `accounts`, where these are a part of all

    @property
    def laptops(self) -> int:
        """How many laptops have a key."""
        return self.others + sum(bool(account.keys) for account in self.accounts.values())

    def plus(self, *accounts: Account) -> Known:
        """Return what is known with `accounts`, which may be there already."""
        added = {account.tree: account for account in accounts}
        uids = self.uids | {account.uid for account in accounts}
        return replace(self, accounts=self.accounts | added, uids=uids)


def to_json(account: Account) -> str:
    """Return the text of `account`'s account.json."""
    data = asdict(account)
    data["class"] = data.pop("class_name")
    return json.dumps({"format": FORMAT, **data}, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str, tree: str) -> Account:
    """Return the account in `text`, which stands in the directory `tree`; raise Refusal if it is not one."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal("it is not JSON") from error
    if not isinstance(data, dict) or data.get("format") not in (1, FORMAT):
        raise Refusal(f"its format is not {FORMAT}: a newer server may have written it")
    if data["format"] == 1:
        data = {**data, "class": "", "retired": "", "approvals": []}
    try:
        account = Account(
            tree=_text(data["tree"]),
            learner=_text(data["learner"]),
            names=tuple(_text(name) for name in data["names"]),
            uid=data["uid"],
            keys=tuple(_key(key) for key in data["keys"]),
            nick=check_nick(_text(data["nick"])),
            uuid=_text(data["uuid"]),
            registered=_text(data["registered"]),
            approvals=tuple(_approval(approval) for approval in data["approvals"]),
            class_name=check_class(_text(data["class"])),
            retired=_text(data["retired"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Refusal(f"a field is missing or wrong: {error}") from error
    # A library from elsewhere may be put into this machine: what becomes a login name or a path is checked again.
    named = all(TREE.fullmatch(name) for name in (account.tree, account.learner, *account.names))
    owned = type(account.uid) is int and FIRST_UID <= account.uid <= LAST_UID
    if account.tree != tree or not named or not owned:
        raise Refusal("its tree, learner, names or uid cannot be true")
    return account


def read_all(users: Path) -> Known:
    """Return every account under the directory `users`; a broken one is named in `damaged`, never fatal."""
    accounts: dict[str, Account] = {}
    damaged: dict[str, str] = {}
    uids: set[int] = set()
    for directory in sorted(users.iterdir()):
        if directory.is_symlink() or not directory.is_dir():
            continue
        # The group stands for the uid, so that no new laptop gets the uid of documents whose account is unreadable, or
        # which are being deleted.
        uids.add(directory.stat().st_gid)
        if directory.name.startswith("."):
            continue
        try:
            accounts[directory.name] = from_json((directory / FILE).read_text(encoding="utf-8"), directory.name)
        except (OSError, UnicodeDecodeError, Refusal) as error:
            damaged[directory.name] = str(error)
    uids.update(account.uid for account in accounts.values())
    return Known(accounts, damaged, frozenset(uid for uid in uids if FIRST_UID <= uid <= LAST_UID))


def write(users: Path, account: Account) -> None:
    """Put `account` on disk in its tree's directory, whole or not at all; raise OSError."""
    durable.replace(users / account.tree / FILE, to_json(account), 0o640, account.uid)


def _key(value: Any) -> AccountKey:
    key = parse_key(f"{_text(value['type'])} {_text(value['blob'])}")
    return AccountKey(key.type, key.blob, _text(value["since"]))


def _approval(value: Any) -> Approval:
    approval = Approval(*(_text(value[name]) for name in ("did", "tree", "when", "by")))
    if approval.did not in (JOINED, HANDED_ON) or not TREE.fullmatch(approval.tree):
        raise ValueError(f"{approval.did!r} is no approval")
    return approval


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    value.encode()  # half a surrogate pair is legal JSON that no file or database takes: a ValueError
    return value
