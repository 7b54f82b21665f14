"""Announcing an update and keeping it: the round shall wait for what never comes, or the committee shall disagree."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from banyan.protocol.effects import InputEvent, Trained
from banyan.simulations.attacks.attacker import Attack

__all__ = ["Withhold", "WithholdFromHalf"]


class Withhold(Attack):
    """Announce an update whose bytes nobody will ever see."""

    def twist(self, event: InputEvent) -> list[InputEvent]:
        if not isinstance(event, Trained):
            return [event]
        promised = b"never" + self.rng.bytes(32)
        return [replace(event, blob=hashlib.sha256(promised).digest())]


class WithholdFromHalf(Attack):
    """Serve one half of the network what the other half asks for in vain: whoever is served must pass it on."""

    def serves(self, receiver: str, digest: bytes) -> bool:
        return hashlib.sha256(receiver.encode()).digest()[0] % 2 == 0
