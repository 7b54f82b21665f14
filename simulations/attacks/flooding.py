"""Talking too much: messages that cost the sender little and shall cost everybody else time and bandwidth."""

from __future__ import annotations

from banyan.protocol.messages import Presence, read_body
from banyan.security.envelope import Envelope
from banyan.simulations.attacks.attacker import Attack, Told

__all__ = ["Flood"]


class Flood(Attack):
    """With every sign of life, ``burst`` more of them, each newer than the last so that none is a repetition, and as
    many messages of random bytes, to everybody known."""

    burst: int = 30

    def say(self, envelope: Envelope) -> Told | None:
        if envelope.kind != "presence" or self.core is None:
            return None
        presence = read_body(envelope, Presence)
        everybody = (
            tuple(sorted({m.node for m in self.core.members} - {self.signer.node_id})) or self.audience
        )
        signs = [
            (everybody, self.seal(envelope, presence, later=number)) for number in range(1, self.burst + 1)
        ]
        rubbish = [(everybody, self.rng.bytes(512)) for _ in range(self.burst)]
        return [(self.audience, envelope.data), *signs, *rubbish]
