"""What malicious members do, one class an attack: the same code attacks virtual and real networks.

On updates: sign flip, noise, explosion, ALIE, IPM, mimic, min-max, min-sum (an asterisk marks those that search their
strength against the very rule), flipped labels, backdoors, what is no number or no update, old updates. On the
protocol: equivocation, withholding, lying and silent leaders, false, missing and hidden votes, forged authors, revoked
members, Sybils, floods and eclipses.

To bring an attack of one's own, subclass :class:`Attack` (or :class:`Colluding`, with a formula) and hand the class to
``World.corrupt``.
"""

from __future__ import annotations

from typing import Final

from banyan.simulations.attacks.attacker import Attack, Blobs
from banyan.simulations.attacks.coalition import Coalition
from banyan.simulations.attacks.collusion import (
    Alie,
    Colluding,
    Ipm,
    Mimic,
    MinMax,
    MinSum,
    SearchedAlie,
    SearchedIpm,
)
from banyan.simulations.attacks.committee import (
    Equivocate,
    LyingLeader,
    PickVotes,
    SilentLeader,
    VoteAgainst,
    VoteNever,
    VoteTwice,
)
from banyan.simulations.attacks.eclipse import Eclipse
from banyan.simulations.attacks.flooding import Flood
from banyan.simulations.attacks.impersonation import ForgedAuthor, Revoked, Sybil
from banyan.simulations.attacks.malformed import Infinity, NaN, Oversize, WrongShape
from banyan.simulations.attacks.outdated import Replay, StaleBase
from banyan.simulations.attacks.poisoning import Backdoor, Explosion, LabelFlip, Noise, SignFlip
from banyan.simulations.attacks.withholding import Withhold, WithholdFromHalf

__all__ = ["ATTACKS", "Attack", "Blobs", "Coalition", "Colluding", "SignFlip", "attack"]

ATTACKS: Final[dict[str, type[Attack]]] = {
    "sign-flip": SignFlip,
    "noise": Noise,
    "explosion": Explosion,
    "alie": Alie,
    "alie*": SearchedAlie,
    "ipm": Ipm,
    "ipm*": SearchedIpm,
    "mimic": Mimic,
    "min-max": MinMax,
    "min-sum": MinSum,
    "label-flip": LabelFlip,
    "backdoor": Backdoor,
    "nan": NaN,
    "infinity": Infinity,
    "wrong-shape": WrongShape,
    "oversize": Oversize,
    "replay": Replay,
    "stale-base": StaleBase,
    "equivocate": Equivocate,
    "withhold": Withhold,
    "withhold-from-half": WithholdFromHalf,
    "lying-leader": LyingLeader,
    "silent-leader": SilentLeader,
    "vote-against": VoteAgainst,
    "vote-never": VoteNever,
    "vote-twice": VoteTwice,
    "pick-votes": PickVotes,
    "forged-author": ForgedAuthor,
    "revoked": Revoked,
    "sybil": Sybil,
    "flood": Flood,
    "eclipse": Eclipse,
}


def attack(name: str) -> type[Attack]:
    """The attack called ``name``; raises ValueError naming them all."""
    try:
        return ATTACKS[name]
    except KeyError:
        raise ValueError(f"There is no attack {name!r}. Choose one of {', '.join(ATTACKS)}") from None
