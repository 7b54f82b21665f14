"""How a committee agrees on one release per height, whatever its leaders do.

This is the single-decision core of Tendermint (Buchman, Kwon and Milosevic, 2018, arXiv:1807.04938, algorithm 1),
with a release in the place of a block. In view ``v`` the leader proposes; members who find the proposal valid
*prevote* it; members who see a quorum of prevotes lock on it and *precommit* it; a quorum of precommits in one
view is the certificate. A silent or lying leader costs one view: the members prevote for nothing, and the next
leader takes over. With n members, f = (n - 1) // 3 of them Byzantine, and quorum = (n + f) // 2 + 1:

- *safety*: two quorums share an honest member, who never signs two values in one view and never unlocks without
  proof, so no two releases of one height are ever certified;
- *liveness*: while a quorum is honest and connected, some view decides, since time-outs grow with the view.

:class:`Agreement` holds the votes and makes the moves of one member. It is pure: inputs are method calls, results
are the :data:`Move` objects they return. A non-member may drive one too (``me`` not in ``committee``): it then
only follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

__all__ = [
    "Agreement",
    "Ask",
    "Cast",
    "Decided",
    "Move",
    "Propose",
    "TimeOut",
    "ViewStarted",
    "faults_of",
    "quorum_of",
]

NOTHING: Final = b""
Phase: TypeAlias = Literal["prevote", "precommit"]
Step: TypeAlias = Literal["propose", "prevote", "precommit"]


def faults_of(members: int) -> int:
    """How many Byzantine members a committee of this size survives."""
    return (members - 1) // 3


def quorum_of(members: int) -> int:
    """The fewest votes of which any two sets share an honest member: 1 of 1, 2 of 3, 3 of 4, 4 of 5 and 6, 5 of 7."""
    return (members + faults_of(members)) // 2 + 1


@dataclass(frozen=True, slots=True)
class Propose:
    """We lead this view: propose ``value``, backed by a quorum of prevotes in ``valid_view``, whose signatures must
    go with it; or a new one if it is None."""

    view: int
    value: bytes | None
    valid_view: int


@dataclass(frozen=True, slots=True)
class Cast:
    """Sign and send this vote."""

    phase: Phase
    view: int
    value: bytes
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """Find out whether ``value`` is valid, and answer with :meth:`Agreement.verdict`."""

    view: int
    value: bytes


@dataclass(frozen=True, slots=True)
class TimeOut:
    """Call :meth:`Agreement.timed_out` with this view and step after ``delay`` milliseconds."""

    view: int
    step: Step
    delay: int


@dataclass(frozen=True, slots=True)
class ViewStarted:
    """A view begins under ``leader``; views above 0 mean that the one before failed."""

    view: int
    leader: str


@dataclass(frozen=True, slots=True)
class Decided:
    """``value`` has its certificate: a quorum of precommits in ``view``."""

    view: int
    value: bytes


Move: TypeAlias = Propose | Cast | Ask | TimeOut | ViewStarted | Decided


@dataclass(slots=True)
class Agreement:
    """One member's side of the agreement on one height.

    Args:
        committee: member ids in the order in which they lead.
        me: this node's id.
        patience: milliseconds a member waits for a leader in view 0; grows by half with every view.
        is_mute: whether to hear the others only: we may have cast votes that we have forgotten.
    """

    committee: Sequence[str]
    me: str
    patience: int
    is_mute: bool = False
    view: int = -1
    step: Step = "propose"
    decided: bytes | None = None
    _locked: tuple[int, bytes] = (-1, NOTHING)
    _valid: tuple[int, bytes] = (-1, NOTHING)
    _proposals: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    _verdicts: dict[bytes, str] = field(default_factory=dict)
    _asked: set[bytes] = field(default_factory=set)
    _votes: dict[tuple[Phase, int], dict[bytes, dict[str, None]]] = field(default_factory=dict)
    _armed: set[tuple[Step, int]] = field(default_factory=set)
    _extended: dict[int, int] = field(default_factory=dict)
    _granted: dict[int, int] = field(default_factory=dict)

    EXTENSIONS: Final = 4

    # -------------------------------------------------------------------------------------------- inputs

    def start(self) -> list[Move]:
        """The round has what it needs: begin view 0 (nothing happens if a view already runs)."""
        if self.view >= 0 or self.is_mute:
            return []
        return [*self._enter(0), *self._advance()]

    def proposal(self, view: int, value: bytes, valid_view: int) -> list[Move]:
        """The leader of ``view`` proposed ``value``. Only its first proposal in a view counts."""
        self._proposals.setdefault(view, (value, valid_view))
        return self._advance()

    def verdict(self, value: bytes, problem: str) -> list[Move]:
        """The answer to :class:`Ask`: an empty ``problem`` means that ``value`` is valid."""
        self._verdicts[value] = problem
        return self._advance()

    def vote(self, phase: Phase, view: int, member: str, value: bytes) -> list[Move]:
        """``member`` voted; strangers' votes are ignored.

        A liar that votes for two values counts for both, as in the paper: were only its first vote counted, it
        could show each of us another, and nobody would accept the proof of anybody's lock.
        """
        if member in self.committee:
            self._votes.setdefault((phase, view), {}).setdefault(value, {})[member] = None
        return self._advance()

    def timed_out(self, view: int, step: str) -> list[Move]:
        """A :class:`TimeOut` came to its end."""
        if view != self.view or self.decided is not None:
            return []
        if step == "propose" and self.step == "propose":
            granted = self._granted.get(view, 0) + (self.EXTENSIONS if self._judging(view) else 0)
            if self._extended.setdefault(view, 0) < granted:
                self._extended[view] += 1  # the leader is not silent: it has a draft tried, or we still judge
                return [TimeOut(view, "propose", self._delay(view))]
            return [*self._cast("prevote", NOTHING, "time-out"), *self._advance()]
        if step == "prevote" and self.step == "prevote":
            return [*self._cast("precommit", NOTHING, "time-out"), *self._advance()]
        if step == "precommit":
            return [*self._enter(view + 1), *self._advance()]
        return []

    def grant(self, view: int, extensions: int) -> None:
        """Be more patient with the leader of ``view``, by so many time-outs: it has shown what it is working on."""
        self._granted[view] = self._granted.get(view, 0) + extensions

    def recall(self, phase: Phase, view: int, value: bytes) -> None:
        """After a restart: we had already cast this vote. Call for every own vote, in the order they were cast."""
        self._votes.setdefault((phase, view), {}).setdefault(value, {})[self.me] = None
        if view >= self.view:
            self.view, self.step = view, phase
        if phase == "precommit" and value != NOTHING and view > self._locked[0]:
            self._locked = self._valid = (view, value)

    def resume(self) -> list[Move]:
        """After :meth:`recall`: go on where we stood. The current view's time-out runs anew."""
        if self.view < 0 or self.decided is not None or self.is_mute:
            return []
        return [TimeOut(self.view, self.step, self._delay(self.view)), *self._advance()]

    def speak(self) -> list[Move]:
        """We know by now what votes we had cast, or as much of it as anybody: take part again."""
        if not self.is_mute:
            return []
        self.is_mute = False
        return self.resume() if self.view >= 0 else self._advance()

    # ------------------------------------------------------------------------------------------ questions

    def leader(self, view: int) -> str:
        return self.committee[view % len(self.committee)]

    def voted(self, phase: Phase, view: int, value: bytes) -> list[str]:
        """Who cast ``phase`` for ``value`` in ``view``."""
        return list(self._votes.get((phase, view), {}).get(value, ()))

    @property
    def quorum(self) -> int:
        return quorum_of(len(self.committee))

    # ------------------------------------------------------------------------------------------ the rules

    def _advance(self) -> list[Move]:
        """Apply the rules of the algorithm until none fires."""
        moves: list[Move] = []
        before = None
        while self.decided is None and before != (before := (self.view, self.step, self._valid, len(moves))):
            moves += self._rules()
        return moves

    def _rules(self) -> Iterator[Move]:
        """The moves of the first rule that fires (numbers are the lines of algorithm 1)."""
        decision = self._decision()  # 49
        if decision is not None:
            self.decided = decision.value
            yield decision
            return
        if self.is_mute:
            return
        ahead = self._view_of_the_others()  # 55
        if ahead > self.view:
            yield from self._enter(ahead)
            return
        if self.view < 0:
            return
        view, proposal = self.view, self._proposals.get(self.view)
        if proposal is not None:
            value, valid_view = proposal
            if value not in self._verdicts and value not in self._asked:
                self._asked.add(value)
                yield Ask(view, value)
                return
            objection = self._objection(value, valid_view)
            if self.step == "propose" and objection is not None:  # 22, 28
                yield from self._cast("prevote", NOTHING if objection else value, objection)
                return
            backed = len(self.voted("prevote", view, value)) >= self.quorum
            if backed and self.step != "propose" and self._valid[0] < view:  # 36
                self._valid = (view, value)
                if self.step == "prevote":
                    self._locked = (view, value)
                    yield from self._cast("precommit", value)
                    return
        if self.step == "prevote":
            if len(self.voted("prevote", view, NOTHING)) >= self.quorum:  # 44
                yield from self._cast("precommit", NOTHING, "no quorum for the proposal")
                return
            if len(self._voters("prevote", view)) >= self.quorum:  # 34
                yield from self._arm(view, "prevote")
        if len(self._voters("precommit", view)) >= self.quorum:  # 47
            yield from self._arm(view, "precommit")

    def _objection(self, value: bytes, valid_view: int) -> str | None:
        """Why not to prevote ``value``: empty if nothing speaks against it, None while that is open.

        What a quorum has backed, an honest member more than could all be faulty has found valid, and that is enough
        for everybody else: whether a release is valid hangs on what has reached a member by then, and one that
        finds it wanting must not keep those who are locked on it waiting for ever.
        """
        if valid_view < 0:  # line 22
            problem = self._verdicts.get(value)
            return None if problem is None else problem or self._lock_forbids(value, valid_view)
        if valid_view >= self.view or len(self.voted("prevote", valid_view, value)) < self.quorum:
            return None  # line 28 waits for the proof that the older view backed the value
        return self._lock_forbids(value, valid_view)

    def _lock_forbids(self, value: bytes, valid_view: int) -> str:
        locked_view, locked = self._locked
        allowed = locked_view <= valid_view if valid_view >= 0 else locked_view == -1
        return "" if allowed or locked == value else "locked on another release"

    def _decision(self) -> Decided | None:
        for (phase, view), votes in self._votes.items():
            if phase == "precommit":
                for value, members in votes.items():
                    if value != NOTHING and len(members) >= self.quorum:
                        return Decided(view, value)
        return None

    def _view_of_the_others(self) -> int:
        """The newest view in which more members vote than could all be faulty."""
        active: dict[int, set[str]] = {}
        for phase, view in self._votes:
            if view > self.view:
                active.setdefault(view, set()).update(self._voters(phase, view))
        reached = [view for view, members in active.items() if len(members) > faults_of(len(self.committee))]
        return max(reached, default=-1)

    def _voters(self, phase: Phase, view: int) -> set[str]:
        """Who cast this vote, for whatever value."""
        return {member for members in self._votes.get((phase, view), {}).values() for member in members}

    # ------------------------------------------------------------------------------------------ the moves

    def _enter(self, view: int) -> list[Move]:
        self.view, self.step = view, "propose"
        moves: list[Move] = [ViewStarted(view, self.leader(view))]
        if self.leader(view) == self.me:
            valid_view, value = self._valid
            moves.append(Propose(view, value if valid_view >= 0 else None, valid_view))
        moves.append(TimeOut(view, "propose", self._delay(view)))
        return moves

    def _cast(self, phase: Phase, value: bytes, reason: str = "") -> list[Move]:
        self.step = phase
        if self.me not in self.committee:
            return []
        if self.me in self._voters(phase, self.view):
            return []  # never sign two values for one view, whatever happened since
        self._votes.setdefault((phase, self.view), {}).setdefault(value, {})[self.me] = None
        return [Cast(phase, self.view, value, reason)]

    def _arm(self, view: int, step: Step) -> list[Move]:
        if (step, view) in self._armed:
            return []
        self._armed.add((step, view))
        return [TimeOut(view, step, self._delay(view))]

    def _judging(self, view: int) -> bool:
        proposal = self._proposals.get(view)
        return proposal is not None and proposal[0] not in self._verdicts

    def _delay(self, view: int) -> int:
        return self.patience + self.patience * min(view, 10) // 2
