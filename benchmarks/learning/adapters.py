"""The network's adapter against LoRA at equal bytes, until neither gains any more, and what a new season gains.

    python -m benchmarks.learning.adapters              # three seeds; goes on where an earlier run stopped
    python -m benchmarks.learning.adapters --fresh      # everything again, the choice of learning rates too
    python -m benchmarks.learning.adapters --report     # write the page of what is there

One branch, ``/de/law``, with one device for each of three sub-domains. Writes ``learning-adapters.{json,md,svg}`` to
``benchmarks/results/``; after every arm, so that a run may be cut off at any time.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Final, Protocol

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from banyan.aggregation import build
from banyan.aggregation.encoding import encode
from banyan.aggregation.lora import Adapter, Factors, aggregate_products
from banyan.node.learning.settings import TrainingSettings
from benchmarks.learning.adapters_page import draw, page
from benchmarks.learning.branch import Branch, Grove
from benchmarks.learning.command import command, keep
from benchmarks.learning.school import School, Seasoned
from benchmarks.learning.shares import TREE, devices_of, held_out_of

TUNED_ON: Final = 0
DOMAIN: Final = "/de/law"
"""Of both domains the one that the base knows less of, so that an adapter's room is the limit sooner."""

SHORT: Final = 4
"""Rounds of a season where one is opened long before the one before has converged."""

Point = dict[str, float]
"""After a round: ``sent`` and ``received`` by a node so far (bytes), ``tried`` and ``held_out`` (mean losses of the
leaves, nats a token), ``season``."""


@dataclass(frozen=True)
class Size:
    """How much. A run has converged when ``patience`` rounds in a row have not brought the loss of the rows that it is
    tried on at least ``gain`` below its lowest before."""

    rank: int = 16
    lora_rank: int = 8
    rows: int = 448
    batch: int = 4
    steps: int = 12
    tried: int = 12
    held_out: int = 24
    patience: int = 3
    gain: float = 0.02
    seasons: int = 3
    most_rounds: int = 30  # of a season
    rates: tuple[float, ...] = (0.005, 0.01, 0.02)
    tuning_rounds: int = 4


class Federation(Protocol):
    """Devices that make one adapter together; ``model`` is their newest release."""

    sent: float
    received: float

    def round(self, height: int) -> None: ...

    @property
    def model(self) -> Seasoned | Adapter: ...


class Bench:
    """One seed: a base model with an adapter of each kind, the devices and their rows, and what is measured on."""

    def __init__(self, base: Path, corpora: Path, size: Size, seed: int) -> None:
        self.size = size
        self.settings = TrainingSettings(
            device="cpu", steps=size.steps, batch=size.batch, max_length=96, use_pretrain_rows=False
        )
        self.school = School(base, self.settings, rank=size.rank, scale=2.0, seed=seed)
        self.devices = [devices_of(corpora, leaf, 1, size.rows, seed)[0] for leaf in TREE[DOMAIN]]
        self.held_out = [held_out_of(corpora, leaf, size.held_out) for leaf in TREE[DOMAIN]]
        self.tried = [
            held_out_of(corpora, leaf, size.tried, apart_from=rows)
            for leaf, rows in zip(TREE[DOMAIN], self.held_out, strict=True)
        ]

    def at(self, rate: float) -> TrainingSettings:
        """The settings with this peak learning rate."""
        return replace(self.settings, learning_rate=rate)

    def measured(self, federation: Federation) -> Point:
        """A point of a federation's curve."""
        model = federation.model
        return {
            "sent": federation.sent,
            "received": federation.received,
            "season": model.season if isinstance(model, Seasoned) else 0,
            "tried": fmean(self.school.loss(rows, model) for rows in self.tried),
            "held_out": fmean(self.school.loss(rows, model) for rows in self.held_out),
        }


class SharedA:
    """The network's adapter: rounds, encoding and sums are the node's own jobs."""

    def __init__(self, bench: Bench, rate: float) -> None:
        self._bench, self._grove = bench, Grove(bench.school, bench.at(rate))
        self.branch = Branch(DOMAIN)

    def round(self, height: int) -> None:
        """Train, send as int8, take the mean."""
        self._grove.round([self.branch], self._bench.devices, height)

    def fork(self) -> SharedA:
        """One that goes on from here by itself."""
        other = copy.copy(self)
        other.branch = replace(self.branch, carry=dict(self.branch.carry))
        other._grove = copy.copy(self._grove)
        other._grove.sent, other._grove.received = dict(self._grove.sent), dict(self._grove.received)
        return other

    @property
    def model(self) -> Seasoned:
        return self._grove.seasoned(self.branch)

    @property
    def frozen_bytes(self) -> int:
        """What the branch holds of earlier seasons."""
        return self._grove.frozen_bytes(self.branch)

    @property
    def sent(self) -> float:
        return fmean(self._grove.sent.values()) if self._grove.sent else 0

    @property
    def received(self) -> float:
        return fmean(self._grove.received.values()) if self._grove.received else 0


class Products:
    """LoRA whose A and B are trained, averaged as products; what a device sends is rounded as the network's updates
    are."""

    def __init__(self, bench: Bench, rate: float) -> None:
        self._bench, self._settings = bench, bench.at(rate)
        self.model: Adapter = bench.school.lora.factors()
        self.sent = self.received = 0.0
        self.residuals: list[float] = []

    def round(self, height: int) -> None:
        """Train, send the change of both factors as int8, take the mean of the products."""
        trained = [
            self._sent(self._bench.school.train_lora(device, self.model, height, self._settings))
            for device in self._bench.devices
        ]
        mean = aggregate_products(build("mean", 0), trained, self._bench.size.lora_rank)
        self.residuals.append(mean.residual)
        self.model = mean.adapter
        self.received += 4 * sum(part.size for factors in self.model.values() for part in factors)

    def _sent(self, trained: Adapter) -> Adapter:
        """What the others make of an update."""
        names = sorted(trained)
        heads = [part for name in names for part in self.model[name]]
        change = np.concatenate([part.ravel() for name in names for part in trained[name]])
        change -= np.concatenate([part.ravel() for part in heads])
        coded = encode(change, "int8")
        assert coded.scales is not None
        self.sent += (coded.codes.nbytes + coded.scales.nbytes) / len(self._bench.devices)
        pieces = np.split(coded.decode(), np.cumsum([part.size for part in heads])[:-1])
        parts = [head + piece.reshape(head.shape) for head, piece in zip(heads, pieces, strict=True)]
        return {name: Factors(*parts[2 * at : 2 * at + 2]) for at, name in enumerate(names)}


def converged(points: Sequence[Point], size: Size) -> bool:
    """Whether the newest rounds gained nothing any more."""
    tried = [point["tried"] for point in points]
    before, newest = tried[: -size.patience], tried[-size.patience :]
    return bool(before) and min(newest) > min(before) - size.gain


def follow(
    bench: Bench,
    federation: Federation,
    points: list[Point],
    is_over: Callable[[list[Point]], bool],
    on_round: Callable[[], None],
) -> None:
    """Rounds until ``is_over`` says so of ``points``: one of the beginning, to which one is added for each round."""
    while not is_over(points):
        federation.round(len(points) - 1)
        points.append(bench.measured(federation))
        on_round()


def shared_a(bench: Bench, rate: float, on_round: Callable[[], None]) -> dict[str, Any]:
    """The network's adapter through its seasons; and without, going on in the first season's A for as many rounds."""
    size, federation = bench.size, SharedA(bench, rate)
    curve, turns, first = [bench.measured(federation)], [], 0
    without: tuple[SharedA, list[Point]] | None = None

    def is_over(points: list[Point]) -> bool:
        return converged(points[first:], size) or len(points) - first > size.most_rounds

    for _ in range(size.seasons):
        follow(bench, federation, curve, is_over, on_round)
        without = without or (federation.fork(), list(curve))
        first = len(curve) - 1
        federation.branch.turn()
        after = bench.measured(federation)["held_out"]
        turns.append(
            {
                "round": first,
                "before": curve[-1]["held_out"],
                "after": after,
                "frozen_bytes": federation.frozen_bytes,
            }
        )
    assert without is not None
    follow(bench, *without, lambda points: len(points) >= len(curve), on_round)
    return {"seasons": curve, "one season": without[1], "turns": turns}


def products(bench: Bench, rate: float, rounds: int, on_round: Callable[[], None]) -> dict[str, Any]:
    """LoRA for as many rounds, and what each truncation to its rank left behind."""
    federation = Products(bench, rate)
    curve = [bench.measured(federation)]
    follow(bench, federation, curve, lambda points: len(points) > rounds, on_round)
    return {"curve": curve, "residuals": federation.residuals}


def short_seasons(bench: Bench, rate: float, rounds: int, on_round: Callable[[], None]) -> dict[str, Any]:
    """The network's adapter for as many rounds, in seasons of a few."""
    federation = SharedA(bench, rate)
    curve = [bench.measured(federation)]
    for end in range(SHORT, rounds + SHORT, SHORT):
        follow(bench, federation, curve, lambda points, end=end: len(points) > min(end, rounds), on_round)
        if end < rounds:
            federation.branch.turn()
    return {"curve": curve, "frozen_bytes": federation.frozen_bytes}


KINDS: Final[dict[str, Callable[[Bench, float], Federation]]] = {"shared A": SharedA, "LoRA": Products}


#: Arms of as many rounds as the seasons took, each with whose learning rate it takes, and how much of it: a choice by
#: a few rounds favours rates that are too high for many.
LIKEWISE: Final = {
    "LoRA": (products, "LoRA", 1.0),
    "LoRA, half the rate": (products, "LoRA", 0.5),
    "short seasons": (short_seasons, "shared A", 1.0),
}


def tune(bench: Bench, on_round: Callable[[], None]) -> dict[str, dict[str, float]]:
    """The lowest loss of the rows that are tried, by kind and peak learning rate."""
    found: dict[str, dict[str, float]] = {}
    for kind, begin in KINDS.items():
        for rate in bench.size.rates:
            federation = begin(bench, rate)
            points = [bench.measured(federation)]
            follow(bench, federation, points, lambda told: len(told) > bench.size.tuning_rounds, on_round)
            found.setdefault(kind, {})[f"{rate:g}"] = min(point["tried"] for point in points)
    return found


def best_rate(result: dict[str, Any], kind: str) -> float:
    """The rate that did best on the seed that is not reported."""
    tuned: dict[str, float] = result["tuning"][kind]
    return float(min(tuned, key=tuned.__getitem__))


def measure(begin: Callable[[int], Bench], seeds: Sequence[int], result: dict[str, Any], to: Path) -> None:
    """Run what ``result`` lacks, and keep it after every arm."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("adapters")

        def on_round() -> None:
            progress.advance(bar)

        if "tuning" not in result:
            bench = begin(TUNED_ON)
            total = len(KINDS) * len(bench.size.rates) * bench.size.tuning_rounds
            progress.reset(bar, description="learning rates", total=total)
            result["tuning"] = tune(bench, on_round)
            keep(result, to)
        for seed in seeds:
            run = result["runs"].setdefault(str(seed), {})
            bench = None
            for arm in ("shared A", *LIKEWISE):
                if arm in run:
                    continue
                bench = bench or begin(seed)
                rounds = len(run["shared A"]["seasons"]) - 1 if "shared A" in run else None
                progress.reset(bar, description=f"seed {seed}: {arm}", total=rounds)
                began = time.process_time()
                if rounds is None:
                    told = shared_a(bench, best_rate(result, arm), on_round)
                else:
                    follows, kind, share = LIKEWISE[arm]
                    told = follows(bench, share * best_rate(result, kind), rounds, on_round)
                run[arm] = told | {"seconds": round(time.process_time() - began, 1)}
                keep(result, to)


def main() -> None:
    """Measure, print and write the results."""
    size = Size()
    command(
        "python -m benchmarks.learning.adapters",
        __doc__,
        name="learning-adapters",
        what="held-out loss, nats a token, by rounds and bytes, of one branch by its kind of adapter",
        size=size,
        measure=lambda options, result, to: measure(
            lambda seed: Bench(options.base, options.corpora, size, seed), options.seeds, result, to
        ),
        page=page,
        draw=draw,
    )


if __name__ == "__main__":
    main()
