# SPDX-License-Identifier: GPL-3.0-or-later
"""Who belongs together: everything that follows from the lines `learner` and `retired` of the accounts. Pure.

An approval moves nothing, so taking its line back restores what was.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from schoolserver.accounts import Account


class Learners:
    """The relations between all accounts (by tree). Each is worked out when it is first asked for."""

    def __init__(self, accounts: Mapping[str, Account]) -> None:
        self._accounts = accounts

    @cached_property
    def _by_name(self) -> dict[str, Account]:
        return {name: account for account in self._accounts.values() for name in account.names}

    @cached_property
    def _named(self) -> dict[int, list[Account]]:
        """Return {uid: the accounts with login names}."""
        found: dict[int, list[Account]] = {}
        for _, account in sorted(self._accounts.items()):
            if account.names:
                found.setdefault(account.uid, []).append(account)
        return found

    @cached_property
    def _trees(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for tree in sorted(self._accounts):
            found.setdefault(self.learner_of(tree), []).append(tree)
        return found

    def holder(self, name: str) -> Account | None:
        """Return the account that has the login name `name`, or None."""
        return self._by_name.get(name)

    def learner_of(self, tree: str) -> str:
        """Return the tree that stands for the learner of `tree`."""
        return _end_of_line(tree, self._accounts) if tree in self._accounts else tree

    def trees_of(self, tree: str) -> list[str]:
        """Return all trees of the learner of `tree`, sorted; `tree` is one of them."""
        return self._trees.get(self.learner_of(tree), [tree])

    def all(self) -> dict[str, list[str]]:
        """Return {learner: all the learner's trees, sorted}."""
        return self._trees

    def written_by(self, account: Account) -> str:
        """Return the tree that the keys of `account` write.

        A reflashed laptop that was approved writes its old tree again. A replaced laptop's learner has another uid: it
        goes on writing its own tree, beside the old one.
        """
        way = [account.tree]
        while (one := self._accounts.get(self._accounts[way[-1]].learner)) and one.uid == account.uid:
            if one.tree in way:
                break
            way.append(one.tree)
        return way[-1]

    def logins_of(self, account: Account) -> list[str]:
        """Return the names under which the keys of `account` log in: a further tree has those of its uid."""
        return list(account.names) or [name for named in self._named.get(account.uid, []) for name in named.names]

    def login_of(self, account: Account) -> str:
        """Return one of those, the serial that the tree is named after where it is among them."""
        names = self.logins_of(account)
        return account.serial if account.serial in names or not names else names[0]

    def is_retired(self, account: Account) -> bool:
        """Say whether the laptop of `account` is in store.

        It is said once, of the account with the login name, and holds for all keys of that learner on that laptop.
        """
        learner = self.learner_of(account.tree)
        named = self._named.get(account.uid, [])
        return any(one.retired and self.learner_of(one.tree) == learner for one in (account, *named))

    def is_waiting(self, account: Account) -> bool:
        """Say whether a person should say if this is the same child: a known serial came with a new key."""
        first = account.serial in self._accounts or self.holder(account.serial) not in (None, account)
        further = account.tree != account.serial and first
        return further and bool(account.keys) and account.learner == account.tree and not account.approvals


def _end_of_line(tree: str, accounts: Mapping[str, Account]) -> str:
    """Follow the lines: whoever was joined to a laptop that was itself joined later comes along."""
    way = [tree]
    while True:
        following = accounts[way[-1]].learner
        # A line to a tree that is gone, or whose account cannot be read, ends before it.
        if following == way[-1] or following not in accounts:
            return way[-1]
        if following in way:  # only a hand that edited the files can have made a ring
            return min(way[way.index(following) :])
        way.append(following)
