"""What every attacker is: an honest core with somebody between it and the world.

An attacker runs the honest core and tampers with what goes in and what comes out, which gives it everything an
honest member has: a credential, a key, the other members' messages. The same code attacks virtual and real networks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from banyan.aggregation.encoding import encode
from banyan.protocol.delta import read_delta, write_delta
from banyan.protocol.effects import (
    Effect,
    Evaluated,
    InputEvent,
    JobFailed,
    MessageReceived,
    Mix,
    Send,
    Train,
    Trained,
)
from banyan.protocol.messages import Bundle, body_of, read_body
from banyan.protocol.peer import Peer
from banyan.security.charter import Charter
from banyan.security.envelope import Envelope, open_envelope, seal
from banyan.security.errors import Refused
from banyan.security.identity import Signer, Verifier, verify
from banyan.simulations.attacks.coalition import Coalition

if TYPE_CHECKING:
    from banyan.simulations.tasks import Task

__all__ = ["Attack", "Ballot", "Blobs", "Told"]

Ballot = Literal["honest", "for", "against", "none"]

STUFFED: Final = 10.0
"""By how much (nats) a false vote differs from the head: beyond what honest voters ever measure."""

Told = list[tuple[tuple[str, ...], bytes]]
"""Receivers and what they are sent."""


class Blobs(Protocol):
    """The attacker's own blob store."""

    def read(self, digest: bytes) -> bytes: ...

    def put(self, data: bytes) -> bytes: ...


class Attack:
    """An honest node: the base of all others.

    Args:
        charter: of the network under attack.
        signer: the attacker's own key.
        blobs: its store.
        seed: of its randomness.
        verifier: checks signatures; the simulator may pass a fast fake.
    """

    ballot: Ballot = "honest"
    """What the attacker says of a release that it is to try: the truth; that it is much better, or much worse, than it
    is; or nothing."""

    surrounds = False
    """Whether the virtual network is to leave the coalition's victim no neighbours but attackers."""

    def __init__(
        self, charter: Charter, signer: Signer, blobs: Blobs, seed: int = 0, verifier: Verifier = verify
    ) -> None:
        self.charter = charter
        self.signer = signer
        self.blobs = blobs
        self.rng = np.random.default_rng(seed)
        self.verifier = verifier
        self.core: Peer | None = None
        self.now = 0
        self.audience: tuple[str, ...] = ()
        """The receivers of the envelope that :meth:`say` is asked about."""
        self._learned: dict[bytes, bytes] = {}
        self.join(Coalition())

    def join(self, coalition: Coalition) -> None:
        """Work with others from now on; an attacker is alone at first."""
        self.coalition = coalition
        coalition.members.add(self.signer.node_id)

    def enter(self, core: Peer) -> None:
        """The core behind this attack has been started, maybe anew after a crash."""
        self.core = core

    # ------------------------------------------------------------------------------------ to override

    def twist(self, event: InputEvent) -> list[InputEvent]:
        """What the core gets to hear instead of ``event``: usually one thing, sometimes nothing or several."""
        if not isinstance(event, Trained):
            return [event]
        return [self.send_instead(event, self.forge(self.blobs.read(event.blob), event))]

    def forge(self, blob: bytes, event: Trained) -> bytes:
        """The delta blob to send instead of ``blob``."""
        return blob

    def say(self, envelope: Envelope) -> Told | None:
        """Other (receivers, data) to send instead of our own ``envelope``, or None to send it as it is."""
        return None

    def serves(self, receiver: str, digest: bytes) -> bool:
        """Whether to hand ``receiver`` a blob that we hold. Asked on virtual networks only: a real daemon serves
        whatever lies in its store."""
        return True

    def study(self, task: Task) -> Task:
        """What the attacker's device learns instead of ``task``. Asked on virtual networks only."""
        return task

    # ------------------------------------------------------------------------------------ between core and world

    def hear(self, event: InputEvent, now: int) -> list[InputEvent]:
        """The driver's way in: see :meth:`twist`."""
        self.now = now
        if isinstance(event, Evaluated):
            return self._vote(event)
        return self.twist(event)

    def _vote(self, event: Evaluated) -> list[InputEvent]:
        if self.ballot == "honest":
            return [event]
        if self.ballot == "none":
            return [JobFailed("evaluate", event.branch, event.height, "an attacker keeps silent", event.job)]
        lie = STUFFED if self.ballot == "against" else -STUFFED
        losses, probed = ((each[0], each[0] + lie) if each else each for each in (event.losses, event.probed))
        return [replace(event, losses=losses, probed=probed)]

    def lie(self, effects: list[Effect]) -> list[Effect]:
        """What is performed instead of ``effects``."""
        return [told for effect in effects for told in self._retell(effect)]

    def _retell(self, effect: Effect) -> list[Effect]:
        # What poisons others must not poison its author: neither an update that was left out, nor its own model.
        if isinstance(effect, Train):
            return [replace(effect, carry=() if effect.base else self._honest(effect.carry))]
        if isinstance(effect, Mix):
            return [replace(effect, own=self._honest(effect.own))]
        if not isinstance(effect, Send):
            return [effect]
        envelope = self.open(effect.data)
        if envelope is None or envelope.author != self.signer.node_id:
            return [effect]
        self.audience = effect.to
        instead = self.say(envelope)
        return [effect] if instead is None else [Send(to, data) for to, data in instead if to]

    # ------------------------------------------------------------------------------------ tools

    def send_instead(self, event: Trained, data: bytes) -> Trained:
        """Training that ended in the blob ``data``."""
        blob = self.blobs.put(data)
        self._learned = {blob: event.blob}
        return replace(event, blob=blob, size=len(data), metrics={})

    def _honest(self, model: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """A model without the lie in it."""
        return tuple(self._learned.get(blob, blob) for blob in model)

    def open(self, data: bytes) -> Envelope | None:
        """The envelope in ``data``, or None if it is none of this network's."""
        try:
            if self.core is not None:  # it remembers what it has read
                return self.core.open_envelope(data)
            return open_envelope(data, network=self.charter.network_id, verify=self.verifier)
        except Refused:
            return None

    def records_in(self, event: MessageReceived) -> list[bytes]:
        """The signed records that a message brings: itself, or those of a bundle; nothing in other control messages."""
        envelope = self.open(event.data)
        if envelope is None or envelope.kind in ("summary", "inventory", "want"):
            return []
        try:
            return list(read_body(envelope, Bundle).records) if envelope.kind == "bundle" else [event.data]
        except Refused:
            return []

    def without(self, event: MessageReceived, unheard: Callable[[Envelope], bool]) -> list[InputEvent]:
        """The message, less the records in it that the core is not to hear of."""
        records = self.records_in(event)
        kept = [data for data in records if (envelope := self.open(data)) is None or not unheard(envelope)]
        if len(kept) == len(records):
            return [event]
        return [MessageReceived(event.sender, data) for data in kept]

    def seal(
        self, envelope: Envelope, message: object, *, later: int = 0, signer: Signer | None = None
    ) -> bytes:
        """Sign ``message`` in the place of ``envelope``, or as the author's ``later``-th message after it."""
        kind, body = body_of(message)
        sealed = seal(
            signer or self.signer,
            network=envelope.network,
            kind=kind,
            seq=envelope.seq + later,
            time=envelope.time,
            body=body,
            max_bytes=self.charter.limits.message_bytes,
        )
        return sealed.data

    def encoded(self, change: npt.NDArray[np.floating], base: bytes) -> bytes:
        """The blob of ``change`` against the release ``base``, in the network's codec."""
        coded = encode(change.astype(np.float32), self.charter.round.codec)
        return write_delta(coded, spec=self.charter.adapter, base=base, season=self._season_of(base))

    def _season_of(self, base: bytes) -> int:
        """The season of the release ``base``; the first where it is unknown, or none."""
        branches = self.core.branches.values() if self.core is not None else ()
        known = (each for branch in branches for each in branch.chain.releases())
        return next((each.season for each in known if each.digest == base), 0)

    def change(self, blob: bytes) -> npt.NDArray[np.float32]:
        """The numbers in a delta blob."""
        spec = self.charter.adapter
        return read_delta(blob, spec, None).whole(spec)
