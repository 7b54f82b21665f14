"""How the tree grows: who may found a branch, and what a node says of them all.

A branch that is founded begins as its parent, since its own adapter is empty. It needs no crowd to open: the committee
of the branch above closes its first rounds with whoever is there (:meth:`Growth.caretakers`), and the seats go over to
those who contribute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from banyan.protocol.branch import Branch
from banyan.protocol.effects import NodeId
from banyan.protocol.events import BranchFounded, Event
from banyan.protocol.members import Members
from banyan.protocol.messages import BranchFounding, Consent
from banyan.protocol.paths import ROOT, check_path, parent_of, path_to
from banyan.protocol.records import NETWORK_TOPIC, Record, Records
from banyan.protocol.release import Seat, committee_of
from banyan.protocol.tree import Tree
from banyan.security.admission import Reason
from banyan.security.charter import Charter, Probe
from banyan.security.credential import Credential, is_guest
from banyan.security.errors import Refused

__all__ = ["Growth", "GrowthRefused", "Host"]

MOST_TEXT: Final = 200
"""Characters of a description."""


class GrowthRefused(Refused):
    """A branch that cannot be founded, or agreed to."""


class Host(Protocol):
    """What growth needs of the node it happens at."""

    now: int
    me: NodeId
    charter: Charter
    records: Records
    members: Members
    branches: dict[str, Branch]

    @property
    def quarantined(self) -> Mapping[str, Reason]: ...
    def tell(self, event: Event) -> None: ...
    def publish(self, message: object) -> Record: ...
    def is_asleep(self, path: str) -> bool: ...


class Growth:
    """One node's view of the tree, and its part in growing it.

    Args:
        host: the node.
        path: the branch that it works on.
        credential: goes into what it founds and agrees to.
        grew: called with the branches that are new.
    """

    def __init__(
        self, host: Host, path: str, credential: Credential, grew: Callable[[Iterable[str]], None]
    ) -> None:
        self._host = host
        self._policy = host.charter.growth
        self._path = path
        self._credential = credential
        self._grew = grew
        self.tree = Tree(host.charter, self._seated)

    def _seated(self, branch: str, height: int, node: NodeId) -> bool:
        followed = self._host.branches.get(branch)
        release = followed.chain.at(height) if followed is not None else None
        return release is not None and node in committee_of(release, self._host.charter.committee)

    # ------------------------------------------------------------------------------------ records

    def check(self, record: Record, *, known: bool = False) -> None:
        """Whether a founding or consent may be kept; ``known``: it was kept before, whatever has become of its author.
        That the branch above exists is no condition, since news of it may come later. Raises ``Refused``."""
        body, author = record.body, record.envelope.author
        assert isinstance(body, BranchFounding | Consent)
        above = parent_of(body.branch)
        if above is None or body.branch in self._host.charter.branches:
            raise GrowthRefused("branch-exists", f"The branch {body.branch} was there from the beginning")
        self._host.members.check_past(author, above, body.credential, record.envelope.time)
        if is_guest(body.credential, self._host.charter):
            raise GrowthRefused("guest", "Guests found no branches")
        if not known:
            if author in self._host.quarantined:
                raise GrowthRefused("quarantined", "The node is shut out")
            if not body.credential.keys.isdisjoint(self._host.members.revoked):
                raise GrowthRefused("revoked", "The membership was revoked")
        if isinstance(body, BranchFounding):
            if (len(body.probe), body.probe_size > 0) not in ((0, False), (32, True)):
                raise GrowthRefused(
                    "bad-probe", "The founding names a probe set without its hash or its size"
                )
            self._may_found(author, body.branch, body.number)
        elif self._policy.branches != "votes":
            raise GrowthRefused("no-votes", "The charter asks for no votes on branches")
        elif not self.tree.is_claimed(body.branch):
            raise GrowthRefused("no-such-branch", f"Nobody has founded {body.branch}")

    def _may_found(self, author: NodeId, path: str, number: int) -> None:
        roots = self._host.charter.roots
        if self._policy.branches == "founders" and author not in roots:
            raise GrowthRefused(
                "not-a-founder",
                f"In {self._host.charter.name} only a founder of the network may found a branch",
                f"Ask {roots[0]}, or for a network whose charter says otherwise",
            )
        depth = len(path_to(path)) - 1
        if depth > self._policy.depth:
            raise GrowthRefused(
                "too-deep", f"{path} lies {depth} levels below the root, {self._policy.depth} are allowed"
            )
        most = self._policy.most if author in roots else self._policy.each
        if number >= most:
            raise GrowthRefused("founding-limit", f"A member may found {most} branches and no more")

    def take(self, record: Record) -> None:
        """Act on a founding or consent that was checked and is new here."""
        self.tree.add(record)
        self.look()

    def look(self) -> None:
        """See whether there are new branches: after a record, or a release of a branch whose committee votes."""
        new = self.tree.grow()
        for path in new:
            claim = self.tree.founded[path]
            self._host.tell(BranchFounded(path, claim.founder, claim.description))
        if new:
            self._grew(new)

    def head_moved(self) -> None:
        """A branch has a new head: consents may count now that could not be judged before."""
        if self._policy.branches == "votes":
            self.look()

    # ------------------------------------------------------------------------------------ this node's wishes

    def plan(self, path: str, description: str = "", probe: Probe | None = None) -> BranchFounding:
        """What this node would say to found ``path``. Raises :class:`GrowthRefused` or ``Refused`` with a sentence for
        its owner where it may not or need not."""
        check_path(path)
        above = parent_of(path)
        if path in self.tree:
            raise GrowthRefused(
                "branch-exists",
                f"There is a branch {path} already",
                f"Work on it: `banyan train --branch {path}`",
            )
        if above not in self.tree:
            raise GrowthRefused(
                "no-parent", f"There is no branch {above}, as far as this node knows", "Found that one first"
            )
        if len(description) > MOST_TEXT or not description.isprintable():
            raise GrowthRefused(
                "bad-description", f"A description is one line of up to {MOST_TEXT} printable characters"
            )
        if self.tree.is_claimed(path) and self._policy.branches == "votes":
            raise GrowthRefused(
                "proposed-already",
                f"{path} is proposed already and waits for the committee of {above}",
                f"Its members agree with `banyan branch approve {path}`",
            )
        if is_guest(self._credential, self._host.charter):
            raise GrowthRefused("guest", "Guests found no branches", "Ask a member, or for an invite")
        if not self._credential.reaches(parent_of(path) or ROOT):
            raise GrowthRefused(
                "scope", f"This node's membership does not reach {above}", "Ask a member of it"
            )
        taken = {
            record.body.number
            for record in self._host.records.of(NETWORK_TOPIC)
            if isinstance(record.body, BranchFounding) and record.envelope.author == self._host.me
        }
        number = next(each for each in range(len(taken) + 1) if each not in taken)
        self._may_found(self._host.me, path, number)
        if len(self.tree.founded) >= self._policy.most:
            raise GrowthRefused(
                "too-many-branches",
                f"{self._policy.most} branches have been founded, which is all there is room for",
            )
        named = (b"", 0) if probe is None else (probe.digest, probe.size)
        return BranchFounding(path, description, number, self._credential, *named)

    def found(self, path: str, description: str = "", probe: Probe | None = None) -> None:
        """Found ``path``, as planned; where votes are needed and this node has one, it gives it."""
        self.take(self._host.publish(self.plan(path, description, probe)))
        above = parent_of(path) or ROOT
        if self._policy.branches == "votes" and path not in self.tree and self._has_vote(above):
            self.agree(path)

    def plan_consent(self, path: str) -> Consent:
        """What this node would say to agree to ``path``. Raises :class:`GrowthRefused` with a sentence."""
        above = parent_of(check_path(path)) or ROOT
        if self._policy.branches != "votes":
            raise GrowthRefused("no-votes", "The charter of this network asks for no votes on branches")
        if path in self.tree:
            raise GrowthRefused("branch-exists", f"There is a branch {path} already")
        if not self.tree.is_claimed(path):
            raise GrowthRefused("no-such-branch", f"Nobody has proposed {path}", "See `banyan branches`")
        if not self._has_vote(above):
            raise GrowthRefused(
                "not-on-committee",
                f"This node has no seat on the committee of {above} at present",
                "Seats change with every release: try again, or ask those of `banyan status`",
            )
        if self._host.records.at("consent", path, self._host.me) is not None:
            raise GrowthRefused("agreed-already", f"This node has agreed to {path} already")
        return Consent(path, self._host.branches[above].chain.height, self._credential)

    def agree(self, path: str) -> None:
        """Agree to ``path``, as planned."""
        self.take(self._host.publish(self.plan_consent(path)))

    def _has_vote(self, above: str) -> bool:
        return above in self._host.branches and self._host.branches[above].on_committee

    # ------------------------------------------------------------------------------------ opening

    def caretakers(self, path: str) -> tuple[Seat, ...]:
        """Who closes the first rounds of a branch that was founded: the committee of the branch above, speaking for
        that, so that no round waits for updates of theirs. None for the charter's own branches."""
        above = parent_of(path)
        if path not in self.tree.founded or above not in self._host.branches:
            return ()
        return tuple(Seat(node, 0, above) for node in self._host.branches[above].chain.committee)

    # ------------------------------------------------------------------------------------ questions

    def listing(self) -> list[dict[str, object]]:
        """Every branch of the tree as this node sees it, and what is proposed, JSON-ready, by path. ``members`` and
        ``height`` are None of branches that the node does not follow."""
        proposed = {claim.path: claim for claim in self.tree.claims()}
        pages = [self._page(path) for path in self.tree.paths]
        for path, claim in proposed.items():
            pages.append(
                {
                    "branch": path,
                    "state": "proposed",
                    "description": claim.description,
                    "founder": claim.founder,
                    "founded": claim.time,
                    "members": None,
                    "guests": None,
                    "height": None,
                    "head": None,
                    "agreed": list(self.tree.agreed(path)),
                    "votes": self._policy.votes if self._policy.branches == "votes" else None,
                }
            )
        return sorted(pages, key=lambda page: str(page["branch"]))

    def _page(self, path: str) -> dict[str, object]:
        claim, branch = self.tree.founded.get(path), self._host.branches.get(path)
        head = branch.chain.head if branch is not None else None
        here = self._host.members.live(self._host.now, path) if branch is not None else None
        if branch is None:
            state = "elsewhere"
        elif self._host.is_asleep(path):
            state = "dormant"
        elif self._host.charter.round.coordination == "gossip":
            state = "mixing"
        else:
            state = "waiting" if head is None else "open"
        return {
            "branch": path,
            "state": state,
            "description": claim.description if claim is not None else "",
            "founder": claim.founder if claim is not None else None,
            "founded": claim.time if claim is not None else None,
            "members": None if here is None else sum(not member.guest for member in here),
            "guests": None if here is None else sum(member.guest for member in here),
            "height": head.height if head is not None else None,
            "head": head.digest.hex() if head is not None else None,
            "agreed": [],
            "votes": None,
        }
