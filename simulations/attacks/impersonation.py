"""Being somebody else: an honest member, a member of yesterday, or a crowd."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from banyan.protocol.effects import InputEvent, MessageReceived
from banyan.protocol.messages import Presence, Update, read_body
from banyan.security.credential import self_credential
from banyan.security.envelope import Envelope
from banyan.security.identity import Identity, Signer
from banyan.simulations.attacks.attacker import Attack, Told
from banyan.simulations.attacks.poisoning import SignFlip

__all__ = ["ForgedAuthor", "Revoked", "Sybil"]


@dataclass(frozen=True)
class _Pretender:
    """Signs with one key in the name of another."""

    node_id: str
    key: Signer

    def sign(self, message: bytes, /) -> bytes:
        return self.key.sign(message)


class ForgedAuthor(Attack):
    """Beside the own update, send it in the name of each of its receivers, to use up their turns."""

    def say(self, envelope: Envelope) -> Told | None:
        if envelope.kind != "update":
            return None
        update = read_body(envelope, Update)
        forged: Told = [
            (tuple(other for other in self.audience if other != name),
             self.seal(envelope, update, signer=_Pretender(name, self.signer)))
            for name in self.audience
        ]  # fmt: skip
        return [*forged, (self.audience, envelope.data)]


class Revoked(SignFlip):
    """Never hear that one is shut out: go on sending poisoned updates after the own membership was revoked, or the own
    guilt proved."""

    def twist(self, event: InputEvent) -> list[InputEvent]:
        if not isinstance(event, MessageReceived):
            return super().twist(event)
        return self.without(event, lambda envelope: envelope.kind in ("revocation", "accusation"))


class Sybil(SignFlip):
    """Be many: for every message of one's own, ``crowd`` more in the names of keys made for it, with credentials that
    they give themselves (Douceur, IPTPS 2002). To an open network they are guests: at most ``f`` of their updates are
    counted, and none has a seat. One by invitation refuses them.
    """

    crowd: int = 8

    def say(self, envelope: Envelope) -> Told | None:
        if envelope.kind not in ("presence", "update"):
            return None
        body = read_body(envelope, Presence if envelope.kind == "presence" else Update)
        crowd = [
            (self.audience, self.seal(envelope, replace(body, credential=credential), signer=signer))
            for signer, credential in self._masks()
        ]
        return [(self.audience, envelope.data), *crowd]

    def _masks(self) -> list[tuple[Identity, object]]:
        if not hasattr(self, "_made"):
            own = self.signer.node_id
            seeds = (
                hashlib.sha256(f"{own}|sybil|{number}".encode()).digest() for number in range(self.crowd)
            )
            signers = [Identity.from_seed(seed) for seed in seeds]
            self._made = [
                (signer, self_credential(signer, self.charter, self.charter.created)) for signer in signers
            ]
            self.coalition.members |= {signer.node_id for signer in signers}
        return list(self._made)
