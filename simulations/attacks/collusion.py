"""Colluders who see honest updates before they send their own: the rushing adversary of the literature."""

from __future__ import annotations

from typing import Final

from banyan.protocol.effects import InputEvent, Inspected, MessageReceived, Trained
from banyan.protocol.messages import State, Update, read_body
from banyan.protocol.peer import Peer
from banyan.security.errors import Refused
from banyan.simulations.attacks import formulas
from banyan.simulations.attacks.attacker import Attack
from banyan.simulations.attacks.coalition import Key
from banyan.simulations.attacks.formulas import Formula

__all__ = ["Alie", "Colluding", "Ipm", "Mimic", "MinMax", "MinSum", "SearchedAlie", "SearchedIpm"]

ANNOUNCEMENTS: Final = 4096
"""Announced updates whose blobs a colluder waits for; more are forgotten."""


class Colluding(Attack):
    """Hold back the own update until the honest ones of the round are known, then send what a formula makes of them.

    It waits for everybody on the branch's roster, at most a quarter of the round's deadline after its own training, so
    that its update still counts. Where nothing was seen by then it makes its lie of what it learned itself.
    """

    formula: Formula

    _held: Trained | None = None
    _until: int = 0
    _announced: dict[bytes, tuple[Key, str]]

    def twist(self, event: InputEvent) -> list[InputEvent]:
        self._watch(event)
        if isinstance(event, Trained):
            self._held, self._until = event, self.now + self.charter.round.deadline // 4
            self.coalition.show(key_of(event), self.signer.node_id, self.change(self.blobs.read(event.blob)))
            return self._release()
        return [event, *self._release()]

    def enter(self, core: Peer) -> None:
        super().enter(core)
        self._held, self._announced = None, {}

    def _release(self) -> list[InputEvent]:
        """Our own update, once it is time."""
        event = self._held
        if event is None:
            return []
        if self.now < self._until and not self._expected(event) <= self.coalition.seen(key_of(event)):
            return []
        self._held = None
        lie = self.coalition.lie(
            key_of(event), self.signer.node_id, type(self).formula, self.charter, self.rng
        )
        return [self.send_instead(event, self.encoded(lie, event.base))]

    def _expected(self, event: Trained) -> set[str]:
        """The honest members on the roster of the round; where there is none, those that are alive on the branch."""
        if self.core is None:
            return set()
        head = self.core.branches[event.branch].chain.head
        if not event.base or head is None:
            here = {member.node for member in self.core.members.live(self.now, event.branch)}
        else:
            here = {seat.member for seat in head.roster if seat.speaks_for == event.branch}
        return here - self.coalition.members

    def _watch(self, event: InputEvent) -> None:
        """Show the coalition what a committee member gets to see anyway: announcements, and then their blobs."""
        if isinstance(event, MessageReceived):
            for data in self.records_in(event):
                self._note(data)
        elif isinstance(event, Inspected) and event.digest in self._announced:
            key, author = self._announced.pop(event.digest)
            try:
                self.coalition.show(key, author, self.change(self.blobs.read(event.digest)))
            except (Refused, KeyError):
                return  # another attacker's malformed update

    def _note(self, data: bytes) -> None:
        envelope = self.open(data)
        if envelope is None or envelope.author in self.coalition.members:
            return
        if len(self._announced) >= ANNOUNCEMENTS:
            self._announced.clear()
        try:
            if envelope.kind == "update":
                update = read_body(envelope, Update)
                key = (update.branch, update.height, update.base)
                self._announced[update.blob] = (key, envelope.author)
            elif envelope.kind == "state":
                state = read_body(envelope, State)
                key = (state.branch, state.height + state.step, b"")
                self._announced[state.blob] = (key, envelope.author)
        except Refused:
            return


def key_of(event: Trained) -> Key:
    """The round that training was for."""
    return (event.branch, event.height, event.base)


class Alie(Colluding):
    """A Little Is Enough: ``formulas.alie``."""

    formula = staticmethod(formulas.alie)


class SearchedAlie(Colluding):
    """A Little Is Enough, as strong as harms this network's rule most: ``formulas.searched_alie``."""

    formula = staticmethod(formulas.searched_alie)


class Ipm(Colluding):
    """Inner product manipulation: ``formulas.ipm``."""

    formula = staticmethod(formulas.ipm)


class SearchedIpm(Colluding):
    """Inner product manipulation, as strong as harms this network's rule most: ``formulas.searched_ipm``."""

    formula = staticmethod(formulas.searched_ipm)


class Mimic(Colluding):
    """One honest update, many times over: ``formulas.mimic``."""

    formula = staticmethod(formulas.mimic)


class MinMax(Colluding):
    """No further from any honest update than they are from each other: ``formulas.min_max``."""

    formula = staticmethod(formulas.min_max)


class MinSum(Colluding):
    """No further from all honest updates together than they are from each other: ``formulas.min_sum``."""

    formula = staticmethod(formulas.min_sum)
