"""Updates of another time: an old one as if it were new, and a new one on an old release."""

from __future__ import annotations

from dataclasses import replace

from banyan.protocol.effects import InputEvent, MessageReceived, Trained
from banyan.protocol.messages import Bundle, Update, read_body
from banyan.security.envelope import Envelope
from banyan.simulations.attacks.attacker import Attack, Told

__all__ = ["Replay", "StaleBase"]


class Replay(Attack):
    """Send the first update again and again, as if it were new."""

    _first: bytes | None = None

    def forge(self, blob: bytes, event: Trained) -> bytes:
        self._first = self._first or blob
        return self._first


class StaleBase(Attack):
    """Train against the first release ever seen, and say so: honest of a slow device, harmful of a hundred."""

    _first: bytes = b""

    def twist(self, event: InputEvent) -> list[InputEvent]:
        if isinstance(
            event, MessageReceived
        ):  # the core's own record names the head as its base: keep them apart
            return self.without(event, self._is_own)
        return super().twist(event)

    def forge(self, blob: bytes, event: Trained) -> bytes:
        self._first = self._first or event.base
        return self.encoded(self.change(blob), self._first)

    def say(self, envelope: Envelope) -> Told | None:
        if envelope.kind == "update":
            return [(self.audience, self._outdated(envelope))]
        if envelope.kind != "bundle":
            return None
        opened = [(data, self.open(data)) for data in read_body(envelope, Bundle).records]
        records = tuple(
            self._outdated(each) if each is not None and self._is_own(each) else data for data, each in opened
        )
        return [(self.audience, self.seal(envelope, Bundle(records)))]

    def _is_own(self, envelope: Envelope) -> bool:
        return envelope.kind == "update" and envelope.author == self.signer.node_id

    def _outdated(self, envelope: Envelope) -> bytes:
        return self.seal(envelope, replace(read_body(envelope, Update), base=self._first))
