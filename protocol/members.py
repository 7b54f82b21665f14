"""Who is in the network, on which branch, alive or not, and who has proved to be a cheat."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Final

from banyan.protocol.messages import Presence
from banyan.protocol.records import Record
from banyan.security.admission import Reason
from banyan.security.charter import Charter
from banyan.security.credential import (
    Credential,
    CredentialRefused,
    check,
    check_grant,
    check_time,
    conflict,
    is_guest,
)
from banyan.security.errors import Refused
from banyan.security.identity import Verifier
from banyan.security.scope import covers

__all__ = ["Member", "Members"]


GUESTS: Final = 64
"""Guests that a node remembers on one branch. Anybody can make keys for more; members it remembers all."""


@dataclass(slots=True)
class Member:
    """A member or ``guest`` as its newest presence shows it; ``seen`` is its last sign of life (ms), which goes on."""

    node: str
    branch: str
    addresses: tuple[str, ...]
    seen: int
    guest: bool = False


class Members:
    """Memberships and quarantines, as far as this node knows them.

    A credential proves itself by its chain to the charter, so no list needs to be agreed on; what nodes may see
    differently, who is alive, only steers gossip.
    """

    def __init__(self, charter: Charter, verify: Verifier) -> None:
        self._charter = charter
        self.branches: Container[str] = charter.branches
        """The branches that guests may come to."""
        self._members: dict[str, Member] = {}
        self._on: dict[str, dict[str, Member]] = {}
        """The same by their branches: a root knows of all in the network."""
        self._verify = verify
        self._checked: dict[Credential, int] = {}
        self._granted: set[Credential] = set()
        self._grants: dict[str, dict[tuple[str, int], Credential]] = {}
        self._met: set[str] = set()
        self._worked: dict[str, int] = {}
        self._near: dict[str, frozenset[str]] = {}
        self._near_state: tuple[int, int] | None = None
        self._guests: dict[str, tuple[str, int]] = {}
        self.version = 0
        """Rises whenever somebody comes or goes."""
        self.shown: set[str] = set()
        """Who has ever shown a credential that a root vouches for."""
        self.revoked: set[str] = set()
        self.quarantined: dict[str, Reason] = {}

    def check_credential(self, node: str, branch: str, credential: Credential, now: int) -> None:
        """Check that ``credential`` makes ``node`` a member who may work on ``branch``.

        Raises:
            CredentialRefused: with the reason, such as ``expired`` or ``over-used``.
        """
        _check_holder(node, branch, credential)
        valid_until = self._checked.get(credential, -1)
        if now > valid_until or not credential.keys.isdisjoint(self.revoked):
            check(credential, self._charter, now, self.revoked, verify=self._verify)
            self._take_use(credential)
            if len(self._checked) >= 4096:
                self._checked.clear()
            self._checked[credential] = credential.expires
            if not is_guest(credential, self._charter):
                self.shown.add(node)

    def welcome(self, node: str, branch: str, now: int) -> None:
        """Take in a guest of ``branch``, or note that it is still there.

        Raises:
            Refused: ``guest-limit``: the house is full, until guests have been silent for two lifetimes.
        """
        if branch not in self.branches:
            raise Refused("unknown-branch", f"This network has no branch {branch}")
        if node not in self._guests and sum(at == branch for at, _ in self._guests.values()) >= GUESTS:
            raise Refused(Reason.GUEST_LIMIT.value, f"{GUESTS} guests of {branch} are here already")
        self._guests[node] = (branch, now)

    def is_guest(self, node: str) -> bool:
        """Whether ``node`` is here as a guest and nothing more."""
        return node in self._guests and node not in self.shown

    def stays(self, node: str, now: int) -> None:
        """A guest that is here has said something."""
        if node in self._guests:
            self._guests[node] = (self._guests[node][0], now)

    def check_past(self, node: str, branch: str, credential: Credential, time: int) -> None:
        """Check that ``credential`` was good at ``time`` (ms), whatever has become of its holder since.

        Raises:
            CredentialRefused: it was not.
        """
        _check_holder(node, branch, credential)
        self._check_grant(credential)
        check_time(credential, self._charter, time)

    def _check_grant(self, credential: Credential) -> None:
        """An author shows the same credential with all that it says."""
        if credential in self._granted:
            return
        check_grant(credential, self._charter, verify=self._verify)
        if len(self._granted) >= 4096:
            self._granted.clear()
        self._granted.add(credential)

    def _take_use(self, credential: Credential) -> None:
        """The first member seen with one number of a root's invite keeps it, through whatever hands it went."""
        if not credential.chain:
            return
        holders = self._grants.setdefault(credential.chain[0].key, {})
        if any(conflict(holder, credential) for holder in holders.values()):
            raise CredentialRefused(
                "over-used", "Somebody else has already joined with this invite", "Ask for a new invite"
            )
        holders.setdefault((credential.author, credential.use), credential)

    def seen(self, record: Record) -> bool:
        """Take note of a checked presence; True if the member was never met before."""
        presence = record.body
        assert isinstance(presence, Presence)
        node = record.envelope.author
        if presence.left:
            self._forget(node)
            return False
        guest = is_guest(presence.credential, self._charter)
        new = node not in (self._members if guest else self._met)
        if not guest:
            self._met.add(node)
        seen = self.last_sign(node, record.envelope.time)
        self.note(Member(node, presence.branch, presence.addresses, seen, guest))
        return new

    def note(self, member: Member) -> None:
        """Remember a member as it was shown last."""
        before = self._members.get(member.node)
        if before is None:
            self.version += 1
        elif before.branch != member.branch:
            self._leave(before)
        self._members[member.node] = self._on.setdefault(member.branch, {})[member.node] = member

    def worked(self, nodes: Iterable[str], time: int) -> None:
        """A certified release of ``time`` (ms) has counted what ``nodes`` did: as good as a presence of that time."""
        for node in nodes:
            if self._worked.get(node, 0) < time:
                self._worked[node] = time
                member = self._members.get(node)
                if member is not None and member.seen < time:
                    member.seen = time

    def last_sign(self, node: str, shown: int) -> int:
        """When ``node`` last gave a sign of life, if its newest presence is of ``shown`` (ms)."""
        return max(shown, self._worked.get(node, 0))

    def tidy(self, now: int) -> None:
        """Forget who has given no sign of life for two lifetimes."""
        oldest = now - 2 * self._charter.gossip.presence_lifetime
        for node in [member.node for member in self._members.values() if member.seen < oldest]:
            self._forget(node)
        for node in [node for node, time in self._worked.items() if time < oldest]:
            del self._worked[node]
        for node in [node for node, (_, time) in self._guests.items() if time < oldest]:
            del self._guests[node]
            self._forget(node)

    def _forget(self, node: str) -> None:
        member = self._members.pop(node, None)
        if member is not None:
            self._leave(member)
            self.version += 1

    def _leave(self, member: Member) -> None:
        here = self._on[member.branch]
        del here[member.node]
        if not here:
            del self._on[member.branch]

    def quarantine(self, node: str, why: Reason) -> bool:
        """Use nothing of ``node`` any more; True if that is news. The caller holds the evidence."""
        if node in self.quarantined:
            return False
        self.quarantined[node] = why
        self.version += 1
        self._forget(node)
        return True

    def get(self, node: str) -> Member | None:
        """The member as its newest presence shows it, if it is known."""
        return self._members.get(node)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def on(self, branch: str) -> Set[str]:
        """Who is on a branch, as far as is known."""
        return self._on.get(branch, {}).keys()

    def inhabited(self, since: int) -> set[str]:
        """The branches on which somebody has given a sign of life at ``since`` (ms) or later."""
        return {
            branch
            for branch, here in self._on.items()
            if any(member.seen >= since for member in here.values())
        }

    def near(self, now: int, above: str) -> frozenset[str]:
        """Members at ``above`` or below it with a fresh sign of life, looked up anew once a presence interval, and
        whenever somebody comes or goes."""
        state = (self.version, now // self._charter.gossip.presence_interval)
        if state != self._near_state:
            self._near_state = state
            self._near.clear()
        known = self._near.get(above)
        if known is None:
            oldest = now - self._charter.gossip.presence_lifetime
            within = (here for branch, here in self._on.items() if covers(above, branch))
            known = self._near[above] = frozenset(
                member.node for here in within for member in here.values() if member.seen >= oldest
            )
        return known

    def live(self, now: int, branch: str | None = None) -> list[Member]:
        """Members with a fresh sign of life, sorted by id; of one branch if given. Quarantined ones never count."""
        lifetime = self._charter.gossip.presence_lifetime
        return sorted(
            (
                member
                for member in (self if branch is None else self._on.get(branch, {}).values())
                if now - member.seen <= lifetime and member.node not in self.quarantined
            ),
            key=lambda member: member.node,
        )


def _check_holder(node: str, branch: str, credential: Credential) -> None:
    if credential.member != node:
        raise CredentialRefused("altered", "The credential is made out to another node")
    if not credential.reaches(branch):
        raise CredentialRefused("scope", f"The membership is for {credential.scope} and not for {branch}")
