"""The malicious member: the real daemon, with an attack between its core and everything else.

    python -m banyan.node.demo.adversary --home DIR --attack sign-flip

It holds a valid credential and its own share of the data. What it is told (its own training's result) is twisted
before its core hears of it, and what its core wants said is retold. This is the one module of the node that
imports the simulations.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from banyan.node.daemon.process import serve
from banyan.node.daemon.standard import standard_parts
from banyan.node.home import Home
from banyan.protocol.effects import Effect, InputEvent
from banyan.protocol.peer import Peer, PeerSettings
from banyan.security.charter import Charter
from banyan.security.identity import Signer
from banyan.simulations.attacks import Attack, Blobs, SignFlip
from banyan.simulations.attacks import attack as attack_called

if TYPE_CHECKING:
    from banyan.node.daemon.service import Daemon

#: How hard sign-flippers push, as a multiple of what makes the plain mean stand still: n honest nodes that learn alike
#: are cancelled by flipped lessons n times as long in all. Measured on the embedded leaf with n = 5 (start 5.36, four
#: rounds): in all 4 times, the mean ends at 5.40; 6 times, 6.59; 15 times, 35.7.
FLIP: Final[float] = 1.2


def flip_strength(honest: int, attackers: int) -> float:
    """How many times its own lesson each of ``attackers`` sends, turned round."""
    return max(1.0, FLIP * honest / max(1, attackers))


def make(name: str, charter: Charter, signer: Signer, blobs: Blobs, seed: int, strength: float) -> Attack:
    """The attack called ``name``, ready to tamper. Raises ValueError naming them all."""
    made = attack_called(name)(charter, signer, blobs, seed)
    if isinstance(made, SignFlip):
        made.strength = strength
    return made


class TwoFaced(Peer):
    """A core that hears and speaks through an attack."""

    attack: Attack

    def handle(self, event: InputEvent, now: int) -> list[Effect]:
        """See :meth:`Peer.handle`."""
        told: list[Effect] = []
        for twisted in self.attack.hear(event, now):
            told += self.attack.lie(super().handle(twisted, now))
        return told


def main(arguments: list[str] | None = None) -> int:
    """Run one malicious node until it is told to stop."""
    parser = argparse.ArgumentParser(prog="banyan-adversary")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--attack", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strength", type=float, default=SignFlip.strength, help="of a sign-flip")
    chosen = parser.parse_args(arguments)
    made: dict[str, Attack] = {}  # one for the process's life: a core that is rebuilt goes on with it

    def core(daemon: Daemon, settings: PeerSettings, rng: random.Random) -> Peer:
        assert daemon.charter is not None
        if "attack" not in made:
            made["attack"] = make(
                chosen.attack, daemon.charter, daemon.identity, daemon.blobs, chosen.seed, chosen.strength
            )
        peer = TwoFaced(daemon.charter, daemon.identity, settings, rng)
        peer.attack = made["attack"]
        peer.attack.enter(peer)
        return peer

    flags: Mapping[str, object] = {}
    return serve(Home(chosen.home), flags, parts=replace(standard_parts(), core=core))


if __name__ == "__main__":
    sys.exit(main())
