# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may back up now: leases and places, as plain state (DESIGN.md section 2). The caller has a lock.

There are `limit` places. A lease keeps one for a laptop that was told to go; a session sits in one. A run has several
sessions, one after the other: between them its lease keeps the place, and the session of the old client's flag, which
ends the run, gives it up. A holder is a tree, not a learner's uid: a stranger who claims a serial gets a further tree
under the same uid, and must not sit in the child's places. Times are seconds of any clock that does not go back.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PER_HOLDER = 2  # sessions at once: a backup and a restore; more would let one laptop take every place
# Anybody may ask in a classmate's name, so leases that no session has used are few for one address. Whoever means it
# connects within seconds, and the next behind the same router is granted; two, so that one laptop which lost its
# network in between does not make all the others wait for its lease to end.
PER_ADDRESS = 2
# Whoever makes keys has many trees, but not many addresses without some trouble: a quarter of the places is never taken
# from one address alone. A class behind one router backs up on the rest, which two cores are busy with.
_FOR_OTHERS = 4
BETWEEN_SECONDS = 20.0  # a slow laptop's next ssh session of the same run
_LEAST_WAIT = 15


@dataclass
class Lease:
    """A place kept until `end`; `address` is who asked for it; `used` says whether a session has sat in it."""

    end: float
    address: str
    used: bool = False


@dataclass
class Places:
    """The state."""

    limit: int
    lease_seconds: float
    leases: dict[str, Lease] = field(default_factory=dict)  # by holder
    sessions: dict[str, int] = field(default_factory=dict)  # holder -> its open sessions
    addresses: dict[str, int] = field(default_factory=dict)  # address -> the open sessions from there

    def grant(self, holder: str, address: str, now: float) -> bool:
        """Lease a place to `holder`, anew if it has one, as `address` asks; False when all or its own are taken."""
        if not self._room_for(holder, now) or (holder not in self.leases and self._crowds_out(address)):
            return False
        # A renewal counts for who asks: else one laptop could keep up the leases of a whole class that went home.
        others = [lease for other, lease in self.leases.items() if other != holder]
        unused = sum(lease.address == address and not lease.used for lease in others)
        if holder not in self.sessions and unused >= PER_ADDRESS:
            return False
        self.leases[holder] = Lease(now + self.lease_seconds, address, used=holder in self.sessions)
        return True

    def hold(self, holder: str, address: str, now: float) -> bool:
        """Seat a session of `holder` from `address`, on its lease or on a free place; False when neither is there."""
        mine = self.sessions.get(holder, 0)
        if mine >= PER_HOLDER or (mine and self.taken(now) >= self.limit) or not self._room_for(holder, now):
            return False
        if (mine or holder not in self.leases) and self._crowds_out(address):
            return False
        self.sessions[holder] = mine + 1
        self.addresses[address] = self.addresses.get(address, 0) + 1
        if holder in self.leases:
            self.leases[holder].used = True
        return True

    def hand_over(self, asked: str, holder: str, address: str) -> None:
        """Make the lease that `address` got for `asked` that of `holder`, unless a session has used it.

        A laptop whose key waits for a person asks by its serial, which still stands for the older tree.
        """
        lease = self.leases.get(asked)
        if holder != asked and lease and not lease.used and address and lease.address == address:
            self.leases.setdefault(holder, self.leases.pop(asked))

    def release(self, holder: str, address: str, now: float, *, last: bool) -> None:
        """A session of `holder` from `address` ended; `last` says that its run did."""
        for open_sessions, who in ((self.sessions, holder), (self.addresses, address)):
            left = open_sessions.pop(who, 1) - 1
            if left > 0:
                open_sessions[who] = left
        if last:
            self.leases.pop(holder, None)
        elif holder in self.leases:
            self.leases[holder].end = now + min(BETWEEN_SECONDS, self.lease_seconds)

    def taken(self, now: float) -> int:
        """Return how many places are leased or sat in; leases that have run out end here."""
        self.leases = {
            holder: lease for holder, lease in self.leases.items() if lease.end > now or holder in self.sessions
        }
        return sum(self.sessions.values()) + len(self.leases.keys() - self.sessions.keys())

    def retry_after(self, now: float) -> int:
        """Return in how many seconds asking again makes sense: when the first unused lease ends, or a run's length."""
        ends = [lease.end - now for holder, lease in self.leases.items() if holder not in self.sessions]
        return max(_LEAST_WAIT, round(min(ends, default=self.lease_seconds)))

    def _crowds_out(self, address: str) -> bool:
        """Say whether one more from `address` would take what is for others."""
        kept = [
            other for other, lease in self.leases.items() if lease.address == address and other not in self.sessions
        ]
        return bool(address) and self.addresses.get(address, 0) + len(kept) >= self.limit - self.limit // _FOR_OTHERS

    def _room_for(self, holder: str, now: float) -> bool:
        taken = self.taken(now)  # first, because it ends what has run out
        return taken < self.limit or holder in self.leases or holder in self.sessions
