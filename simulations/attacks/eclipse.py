"""Being all that a victim sees of the network (Heilman et al., USENIX Security 2015)."""

from __future__ import annotations

from banyan.protocol.effects import Effect, InputEvent, MessageReceived, Send
from banyan.simulations.attacks.attacker import Attack

__all__ = ["Eclipse"]

SMALL_TALK = frozenset({"presence", "summary"})
"""What a victim still gets to hear, so that it believes itself connected."""


class Eclipse(Attack):
    """Surround the coalition's victim: swallow what it sends, and let nothing through to it but signs of life.

    On a virtual network the world also cuts the victim's links to everybody else, as a poisoned address book would.
    Starved, it stands still; it holds no release that the network did not certify, since nobody can forge one.
    """

    surrounds = True

    def twist(self, event: InputEvent) -> list[InputEvent]:
        if isinstance(event, MessageReceived) and event.sender == self.coalition.victim:
            return []
        return super().twist(event)

    def lie(self, effects: list[Effect]) -> list[Effect]:
        return [told for effect in super().lie(effects) if (told := self._without_victim(effect)) is not None]

    def serves(self, receiver: str, digest: bytes) -> bool:
        return receiver != self.coalition.victim

    def _without_victim(self, effect: Effect) -> Effect | None:
        victim = self.coalition.victim
        if not isinstance(effect, Send) or victim not in effect.to:
            return effect
        envelope = self.open(effect.data)
        if envelope is not None and envelope.kind in SMALL_TALK:
            return effect
        others = tuple(name for name in effect.to if name != victim)
        return Send(others, effect.data) if others else None
