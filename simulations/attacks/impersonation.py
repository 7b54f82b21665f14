"""Being somebody else: an honest member, a member of yesterday, or a crowd."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from banyan.protocol.effects import InputEvent, MessageReceived
from banyan.protocol.messages import Presence, State, Update, read_body
from banyan.security.credential import Credential, self_credential
from banyan.security.envelope import Envelope
from banyan.security.identity import Identity, Signer
from banyan.simulations.attacks.attacker import Attack, Told
from banyan.simulations.attacks.poisoning import SignFlip
from banyan.simulations.signatures import FastSigner

__all__ = ["ForgedAuthor", "Revoked", "Sybil"]


WORK: Final[Mapping[str, type[Update | State]]] = {"update": Update, "state": State}
"""What a member's learning is announced with, by the kind of its envelope."""


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
        if envelope.kind not in WORK:
            return None
        update = read_body(envelope, WORK[envelope.kind])
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
        kinds: Mapping[str, type[Presence | Update | State]] = {"presence": Presence, **WORK}
        if envelope.kind not in kinds:
            return None
        body = read_body(envelope, kinds[envelope.kind])
        crowd = [
            (self.audience, self.seal(envelope, replace(body, credential=credential), signer=signer))
            for signer, credential in self._masks
        ]
        return [(self.audience, envelope.data), *crowd]

    @cached_property
    def _masks(self) -> list[tuple[Signer, Credential]]:
        """The crowd's keys and credentials, of the kind of signature that the network uses."""
        own, charter = self.signer.node_id, self.charter
        seeds = [hashlib.sha256(f"{own}|sybil|{number}".encode()).digest() for number in range(self.crowd)]
        make = FastSigner if isinstance(self.signer, FastSigner) else Identity.from_seed
        signers: list[Signer] = [make(seed) for seed in seeds]
        self.coalition.members |= {signer.node_id for signer in signers}
        return [(signer, self_credential(signer, charter, charter.created)) for signer in signers]
