"""Chooses a model for a need and a device: what cannot be is left out first, the rest is weighed.

The score is a weighted mean of five shares, each from 0 to 1: how well the branch matches the need, how good its model
should be, how fast it is here, how far it can be trusted, and how fresh it is. Only what matches somewhat is offered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from banyan.node.catalog.constraints import Obstacle, fit, memory_of, obstacles
from banyan.node.catalog.hardware import Device
from banyan.node.catalog.listing import Listing
from banyan.node.catalog.matching import GENERAL, Embedder, Matcher
from banyan.node.catalog.need import Need, Precision
from banyan.node.catalog.remedies import remedies
from banyan.node.catalog.sizes import in_words
from banyan.node.catalog.speed import tokens_per_second
from banyan.node.catalog.weights import Weights

#: Below this match a model is about something else, and is not offered for want of a better one.
LEAST_MATCH: Final = 0.2

#: Tokens a second at which people read, and half the share of speed is given.
READING: Final = 10.0

#: Parameters of the smallest and the largest model that quality tells apart.
SMALLEST, LARGEST = 1e7, 1e11

#: Contributors that make most of the share of trust.
MANY: Final = 10.0

#: Listings left out that are named, the best matches first.
NAMED: Final = 8

DAY: Final = 86_400_000


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Offer(_Facts):
    """A model that fits. ``memory`` in bytes at ``precision``; ``tokens_per_second`` None where nothing is measured."""

    listing: Listing
    score: float
    shares: dict[str, float]
    precision: Precision
    memory: int
    tokens_per_second: float | None
    reasons: tuple[str, ...]
    cautions: tuple[str, ...]


class LeftOut(_Facts):
    """A model that would match and is not offered."""

    path: str
    match: float
    causes: tuple[str, ...]
    reasons: tuple[str, ...]


class Recommendation(_Facts):
    """The answer. ``offers`` is empty where nothing fits; ``changes`` then says what would have to be otherwise."""

    need: Need
    offers: tuple[Offer, ...]
    left_out: tuple[LeftOut, ...]
    counts: dict[str, int] = Field(description="How many that match each cause leaves out.")
    changes: tuple[str, ...]


class Recommender:
    """Chooses among ``listings``; makes its index once, so that each answer is quick.

    Args:
        listings: what the catalog holds.
        now: ms since the epoch.
        weights: how much each share counts.
        embedder: a sentence model, where this device has one.
    """

    def __init__(
        self,
        listings: Sequence[Listing],
        *,
        now: int,
        weights: Weights | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self._listings = tuple(listings)
        self._now = now
        self._weights = weights or Weights()
        self._matcher = Matcher(self._listings, embedder)
        self._losses = _typical_losses(self._listings)

    def recommend(self, need: Need, device: Device, top: int = 3) -> Recommendation:
        """The best ``top`` listings for ``need`` on ``device``. None of them lacks memory, disk, a language, a license
        or speed that is asked for."""
        matches = [float(match) for match in self._matcher.scores(need)]
        counts: dict[str, int] = {}
        fitting: list[tuple[float, int, dict[str, float]]] = []
        hindered: list[tuple[float, int, list[Obstacle]]] = []
        for place, (listing, match) in enumerate(zip(self._listings, matches, strict=True)):
            if match < LEAST_MATCH:
                continue
            found = obstacles(listing, need, device)
            for cause in {obstacle.cause for obstacle in found}:
                counts[cause] = counts.get(cause, 0) + 1
            if found:
                hindered.append((match, place, found))
            else:
                shares = self._shares(listing, match, need, device)
                fitting.append((self._score(shares, need), place, shares))
        fitting.sort(key=lambda each: (-each[0], self._listings[each[1]].path))
        hindered.sort(key=lambda each: (-each[0], self._listings[each[1]].path))
        best = max((shares["match"] for _, _, shares in fitting), default=0.0)
        better = [each for each in hindered if each[0] > best + 0.1]
        return Recommendation(
            need=need,
            offers=tuple(self._offer(*each, need, device) for each in fitting[:top]),
            left_out=tuple(
                _left_out(self._listings[place], match, found) for match, place, found in hindered[:NAMED]
            ),
            counts=counts,
            changes=remedies([(self._listings[place], found) for _, place, found in better], need, device)
            if better
            else self._if_nothing(bool(fitting)),
        )

    # -------------------------------------------------------------------------------------------- shares

    def _shares(self, listing: Listing, match: float, need: Need, device: Device) -> dict[str, float]:
        rate = tokens_per_second(listing, device, need.use, fit(listing, need, device)[0])
        return {
            "match": match,
            "quality": self._quality(listing),
            "speed": 0.5 if rate is None else rate / (rate + READING),
            "trust": _trust(listing),
            "freshness": self._freshness(listing),
        }

    def _score(self, shares: Mapping[str, float], need: Need) -> float:
        weights = self._weights.model_dump(include=set(shares))
        if need.prefers == "speed":
            weights |= {"speed": 2 * weights["speed"], "quality": weights["quality"] / 2}
        elif need.prefers == "quality":
            weights |= {"quality": 2 * weights["quality"], "speed": weights["speed"] / 2}
        total = sum(weights.values()) or 1.0
        return sum(weights[name] * share for name, share in shares.items()) / total

    def _quality(self, listing: Listing) -> float:
        """Mostly the base's size, on a logarithmic scale; a loss tells only among adapters of one base."""
        span = math.log(LARGEST / SMALLEST)
        size = min(1.0, max(0.0, math.log(listing.base.parameters / SMALLEST) / span))
        loss, typical = _loss(listing), self._losses.get(listing.base.digest)
        better = 0.0 if loss is None or typical is None else min(0.15, max(-0.15, (typical - loss) / 4))
        return min(1.0, max(0.0, size + better))

    def _freshness(self, listing: Listing) -> float:
        if listing.released is None:
            return 0.0
        days = max(0, self._now - listing.released) / DAY
        return float(0.5 ** (days / self._weights.half_life))

    # -------------------------------------------------------------------------------------------- words

    def _offer(self, score: float, place: int, shares: dict[str, float], need: Need, device: Device) -> Offer:
        listing = self._listings[place]
        precision, takes = fit(listing, need, device)
        rate = tokens_per_second(listing, device, need.use, precision)
        reasons, cautions = self._match_in_words(place, shares["match"], need)
        reasons.append(
            f"{in_words(takes)} to {need.use} in {precision}, {in_words(memory_of(need, device))} are there"
        )
        if rate is not None:
            reasons.append(f"about {rate:.3g} tokens a second here")
        if listing.released is not None:
            proof = "certified" if listing.standing == "certified" else "as its committee claims"
            days = max(0, self._now - listing.released) // DAY
            votes = f"{listing.contributors} contributor" + "s" * (listing.contributors != 1)
            reasons.append(f"{votes}, {days} days old, {proof}")
        if listing.standing == "claimed":
            cautions.append(
                "this node does not follow the branch, so its certificate is checked when it is cloned"
            )
        elif listing.standing == "unreleased":
            cautions.append("it has no release yet: nothing has been learnt")
        if need.written_in and not need.languages and need.written_in not in listing.languages:
            cautions.append(f"it does not know {need.written_in}, in which this was asked")
        return Offer(
            listing=listing,
            score=score,
            shares=shares,
            precision=precision,
            memory=takes,
            tokens_per_second=rate,
            reasons=tuple(reasons),
            cautions=tuple(cautions),
        )

    def _match_in_words(self, place: int, match: float, need: Need) -> tuple[list[str], list[str]]:
        listing, shared = self._listings[place], self._matcher.shared(need, place)
        reasons, cautions = [], []
        if shared:
            reasons.append(f"it is about {', '.join(each.replace('_', ' ') for each in shared)}")
        elif self._matcher.is_general(place):
            reasons.append("it is for general use")
            if need.domains and match <= GENERAL + 0.1:
                cautions.append("it is not made for this subject in particular")
        elif match > LEAST_MATCH:
            reasons.append(f"its card fits the words of the request ({match:.0%})")
        if need.languages:
            reasons.append(f"it knows {', '.join(need.languages)}")
        if need.license is not None:
            reasons.append(f"its license is {', '.join(listing.licenses)}")
        return reasons, cautions

    def _if_nothing(self, something: bool) -> tuple[str, ...]:
        if something:
            return ()
        if not self._listings:
            return ("The catalog is empty: let this node meet its network (`banyan up`), then ask again.",)
        return ("No branch of this network is about that. Found one: `banyan found`, or ask in other words.",)


def _left_out(listing: Listing, match: float, found: Sequence[Obstacle]) -> LeftOut:
    return LeftOut(
        path=listing.path,
        match=match,
        causes=tuple(dict.fromkeys(each.cause for each in found)),
        reasons=tuple(each.what for each in found),
    )


def _trust(listing: Listing) -> float:
    """Many hands, proved: what is only claimed counts half, what nobody has released nothing."""
    proved = {"certified": 1.0, "claimed": 0.5, "unreleased": 0.0}[listing.standing]
    return proved * (1 - math.exp(-listing.contributors / MANY))


def _loss(listing: Listing) -> float | None:
    """The newest loss on the card, measured before reported."""
    losses = [probe for probe in listing.probes if probe.metric == "loss"]
    newest = max(losses, key=lambda probe: (probe.height, probe.source == "measured"), default=None)
    return newest.value if newest is not None else None


def _typical_losses(listings: Sequence[Listing]) -> dict[str, float]:
    """The median loss of each base's adapters."""
    found: dict[str, list[float]] = {}
    for listing in listings:
        loss = _loss(listing)
        if loss is not None:
            found.setdefault(listing.base.digest, []).append(loss)
    return {digest: median(losses) for digest, losses in found.items()}
