"""The branches of a network: those of its charter, and those founded since, as far as one node can tell.

Which branches there are follows from the set of foundings (and, where the charter wants votes, of consents) alone, so
nodes with equal records see the same tree in whatever order these came. Nobody owns a branch: who founds one says what
it is for, and two who found the same one in two parts of a torn network have founded one branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from banyan.protocol.messages import BranchFounding, Consent
from banyan.protocol.paths import children_in, parent_of
from banyan.protocol.records import Record
from banyan.security.charter import Charter, Probe

__all__ = ["Claim", "Tree"]

Seated: TypeAlias = Callable[[str, int, str], bool]
"""Whether, after release ``height`` of ``branch``, ``node`` had a seat on its committee."""


@dataclass(frozen=True, slots=True)
class Claim:
    """That there be a branch ``path``: by ``founder`` at ``time`` (ms), with the probe set ``probe``, if any; ``id`` is
    the record's."""

    path: str
    description: str
    founder: str
    time: int
    id: bytes
    probe: Probe | None = None


class Tree:
    """See the module.

    Args:
        charter: the branches from the beginning, and the growth policy.
        seated: the committees of the branches that this node follows.
    """

    def __init__(self, charter: Charter, seated: Seated) -> None:
        self._policy = charter.growth
        self._seated = seated
        self._first = frozenset(charter.branches)
        self._probes = {probe.path: probe for probe in charter.probes}
        self._claims: list[Claim] = []
        self._consents: dict[str, dict[str, int]] = {}
        self.paths: tuple[str, ...] = charter.branches
        """Every branch, sorted."""
        self._children = children_in(self.paths)
        self.founded: dict[str, Claim] = {}
        """Those that are not in the charter, by path."""

    def __contains__(self, path: object) -> bool:
        return path in self._first or path in self.founded

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def probe_of(self, path: str) -> Probe | None:
        """The probe set of a branch, if it has one."""
        claim = self.founded.get(path)
        return self._probes.get(path) if claim is None else claim.probe

    def probes_by(self, founder: str) -> set[bytes]:
        """The probe sets that ``founder`` has named, whatever came of it: nobody else has them at first."""
        return {claim.probe.digest for claim in self._claims if claim.probe and claim.founder == founder}

    def children_of(self, path: str) -> tuple[str, ...]:
        return self._children.get(path, ())

    def add(self, record: Record) -> None:
        """Take in a checked founding or consent; :meth:`grow` says what comes of it."""
        body, author = record.body, record.envelope.author
        if isinstance(body, BranchFounding):
            probe = Probe(body.branch, body.probe, body.probe_size) if body.probe else None
            claim = Claim(body.branch, body.description, author, record.envelope.time, record.id, probe)
            self._claims.append(claim)
            self._claims.sort(key=lambda each: (each.time, each.id))
        elif isinstance(body, Consent):
            self._consents.setdefault(body.branch, {}).setdefault(author, body.height)

    def grow(self) -> tuple[str, ...]:
        """Look which claims are branches now; returns the new ones, parents first.

        Of several claims to one path the oldest describes it. The oldest claims have the places of the charter's
        ``most``: back-dating can crowd out a branch, which is why a member has few claims.
        """
        before, founded, known = self.founded, dict[str, Claim](), {*self._first}
        oldest: dict[str, Claim] = {}
        for claim in self._claims:
            oldest.setdefault(claim.path, claim)
        grown = True
        while grown:
            grown = False
            for claim in oldest.values():
                if len(founded) == self._policy.most:
                    break
                if claim.path in known or parent_of(claim.path) not in known:
                    continue
                if self._is_agreed(claim.path):
                    founded[claim.path] = claim
                    known.add(claim.path)
                    grown = True
        self.founded = founded
        self.paths = tuple(sorted(known))
        self._children = children_in(self.paths)
        return tuple(sorted(founded.keys() - before.keys()))

    def claims(self) -> list[Claim]:
        """The claims that are no branches yet, the oldest of each path."""
        waiting: dict[str, Claim] = {}
        for claim in self._claims:
            if claim.path not in self:
                waiting.setdefault(claim.path, claim)
        return [waiting[path] for path in sorted(waiting)]

    def is_claimed(self, path: str) -> bool:
        """Whether somebody has founded ``path``, whatever has come of it."""
        return any(claim.path == path for claim in self._claims)

    def agreed(self, path: str) -> tuple[str, ...]:
        """Who of the committee above has agreed to ``path``, as far as this node can tell."""
        above = parent_of(path) or "/"
        consents = self._consents.get(path, {})
        return tuple(sorted(node for node, height in consents.items() if self._seated(above, height, node)))

    def _is_agreed(self, path: str) -> bool:
        return self._policy.branches != "votes" or len(self.agreed(path)) >= self._policy.votes
