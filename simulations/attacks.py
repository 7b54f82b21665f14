"""What a malicious member does. One class an attack; the same code attacks virtual and real networks.

An attacker runs the honest core and tampers with what goes in (its own training's result) and what comes out (the
effects), which gives it everything an honest member has: a credential, a key, the other members' messages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

import numpy as np

from banyan.aggregation.encoding import encode
from banyan.protocol.delta import read_delta, write_delta
from banyan.protocol.effects import Effect, InputEvent, Mix, Send, Train, Trained
from banyan.protocol.messages import Proposal, State, Update, body_of, read_body
from banyan.security.charter import Charter
from banyan.security.envelope import Envelope, open_envelope, seal
from banyan.security.identity import Signer, Verifier, verify

__all__ = ["ATTACKS", "Attack", "Blobs", "attack"]


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
    """

    def __init__(
        self, charter: Charter, signer: Signer, blobs: Blobs, seed: int = 0, verifier: Verifier = verify
    ) -> None:
        self.charter = charter
        self.signer = signer
        self.blobs = blobs
        self.rng = np.random.default_rng(seed)
        self.verifier = verifier
        self._learned: dict[bytes, bytes] = {}

    def twist(self, event: InputEvent) -> InputEvent:
        """What the core gets to hear instead of ``event``."""
        if not isinstance(event, Trained):
            return event
        data = self.forge(self.blobs.read(event.blob), event)
        blob = self.blobs.put(data)
        self._learned = {blob: event.blob}
        return replace(event, blob=blob, size=len(data), metrics={})

    def lie(self, effects: list[Effect]) -> list[Effect]:
        """What is performed instead of ``effects``."""
        return [told for effect in effects for told in self._retell(effect)]

    def forge(self, blob: bytes, event: Trained) -> bytes:
        """The delta blob to send instead of ``blob``."""
        return blob

    def say(self, envelope: Envelope) -> list[tuple[tuple[str, ...], bytes]] | None:
        """Other (receivers, data) to send instead of our own ``envelope``, or None to send it as it is. The receivers
        stand in :attr:`audience`."""
        return None

    audience: tuple[str, ...] = ()

    def _retell(self, effect: Effect) -> list[Effect]:
        # What poisons others must not poison its author: neither an update that was left out, nor its own model.
        if isinstance(effect, Train):
            return [replace(effect, carry=() if effect.base else self._honest(effect.carry))]
        if isinstance(effect, Mix):
            return [replace(effect, own=self._honest(effect.own))]
        if not isinstance(effect, Send):
            return [effect]
        envelope = open_envelope(effect.data, network=self.charter.network_id, verify=self.verifier)
        if envelope.author != self.signer.node_id:
            return [effect]
        self.audience = effect.to
        instead = self.say(envelope)
        return [effect] if instead is None else [Send(to, data) for to, data in instead]

    def _honest(self, model: tuple[bytes, ...]) -> tuple[bytes, ...]:
        return tuple(self._learned.get(blob, blob) for blob in model)

    def _seal(self, envelope: Envelope, message: object) -> bytes:
        """Sign ``message`` in the place of ``envelope``."""
        kind, body = body_of(message)
        sealed = seal(
            self.signer,
            network=envelope.network,
            kind=kind,
            seq=envelope.seq,
            time=envelope.time,
            body=body,
            max_bytes=self.charter.limits.message_bytes,
        )
        return sealed.data

    def _encoded(self, change: np.ndarray, base: bytes) -> bytes:
        coded = encode(change.astype(np.float32), self.charter.round.codec)
        return write_delta(coded, spec=self.charter.adapter, base=base)

    def _change(self, blob: bytes) -> np.ndarray:
        return read_delta(blob, self.charter.adapter).vector.decode()


class SignFlip(Attack):
    """Send the negative of what was learned, ``strength`` times as long (Li et al., RSA, AAAI 2019)."""

    strength: float = 4.0

    def forge(self, blob: bytes, event: Trained) -> bytes:
        return self._encoded(-self.strength * self._change(blob), event.base)


class Noise(Attack):
    """Send Gaussian noise of ten times the norm of what was learned (Blanchard et al., Krum, NeurIPS 2017)."""

    def forge(self, blob: bytes, event: Trained) -> bytes:
        change = self._change(blob)
        noise = self.rng.standard_normal(change.size)
        return self._encoded(noise * 10 * np.linalg.norm(change) / np.linalg.norm(noise), event.base)


class NaN(Attack):
    """Send numbers that are not numbers, which ruin every mean and most medians."""

    def forge(self, blob: bytes, event: Trained) -> bytes:
        vector = read_delta(blob, self.charter.adapter).vector
        scales = blob.find(vector.scales.tobytes()) if vector.scales is not None else len(blob) - 4
        return blob[:scales] + np.float32(np.nan).tobytes() + blob[scales + 4 :]


class Oversize(Attack):
    """Send far more bytes than the adapter has numbers, to fill memories and disks."""

    def forge(self, blob: bytes, event: Trained) -> bytes:
        return blob + bytes(4 * len(blob) + (1 << 20))


class Replay(Attack):
    """Send the first update again and again, as if it were new."""

    def __init__(
        self, charter: Charter, signer: Signer, blobs: Blobs, seed: int = 0, verifier: Verifier = verify
    ) -> None:
        super().__init__(charter, signer, blobs, seed, verifier)
        self._first: bytes | None = None

    def forge(self, blob: bytes, event: Trained) -> bytes:
        self._first = self._first or blob
        return self._first


class Equivocate(Attack):
    """Send one half of the committee, or of the neighbours, another update than the other half."""

    def say(self, envelope: Envelope) -> list[tuple[tuple[str, ...], bytes]] | None:
        if envelope.kind not in ("update", "state"):
            return None
        told: Update | State = read_body(envelope, Update if envelope.kind == "update" else State)
        base = told.base if isinstance(told, Update) else b""
        other = self._encoded(-self._change(self.blobs.read(told.blob)), base)
        twin = replace(told, blob=self.blobs.put(other), size=len(other))
        half = len(self.audience) // 2
        return [(self.audience[:half], envelope.data), (self.audience[half:], self._seal(envelope, twin))]


class LyingLeader(Attack):
    """When leading, propose sums that the signed updates do not give: the negative of the true ones."""

    def say(self, envelope: Envelope) -> list[tuple[tuple[str, ...], bytes]] | None:
        if envelope.kind != "proposal":
            return None
        proposal = read_body(envelope, Proposal)
        lie = encode(-self._change(self.blobs.read(proposal.release.change)), "float32")
        change = self.blobs.put(write_delta(lie, spec=self.charter.adapter, base=b""))
        release = replace(proposal.release, change=change, adapter=change)
        return [(self.audience, self._seal(envelope, replace(proposal, release=release)))]


class SilentLeader(Attack):
    """When leading, say nothing."""

    def say(self, envelope: Envelope) -> list[tuple[tuple[str, ...], bytes]] | None:
        return [] if envelope.kind == "proposal" else None


ATTACKS: Final[dict[str, Callable[..., Attack]]] = {
    "sign-flip": SignFlip,
    "noise": Noise,
    "nan": NaN,
    "oversize": Oversize,
    "replay": Replay,
    "equivocate": Equivocate,
    "lying-leader": LyingLeader,
    "silent-leader": SilentLeader,
}


def attack(name: str) -> Callable[..., Attack]:
    """The attack called ``name``; raises ValueError naming them all."""
    try:
        return ATTACKS[name]
    except KeyError:
        raise ValueError(f"There is no attack {name!r}. Choose one of {', '.join(ATTACKS)}") from None
