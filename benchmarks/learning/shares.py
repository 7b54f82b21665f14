"""Who holds which rows: few for each device, of natural owners of its own; and what a leaf is measured on."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from banyan.node.demo.shares import Leaf, deal, write
from banyan.node.learning.dataset import HELD_OUT_SPLITS, Row, read_rows
from banyan.simulations.tasks.task import seed_of

TREE: Final[dict[str, tuple[str, ...]]] = {
    "/en/medical": ("/en/medical/cancer", "/en/medical/digestive_kidney", "/en/medical/neurology"),
    "/de/law": ("/de/law/civil", "/de/law/criminal", "/de/law/banking"),
}
"""The leaves of each domain; the master, ``/``, is above both domains."""

NEWCOMERS: Final[dict[str, str]] = {"/en/medical": "/en/medical/heart_lung", "/de/law": "/de/law/traffic"}
"""A sub-domain of each domain that opens when the others have learned."""


@dataclass(frozen=True)
class Device:
    """One device: its leaf and its training rows."""

    name: str
    leaf: str
    rows: tuple[Row, ...]


def file_of(corpora: Path, leaf: str) -> Path:
    """Where a leaf's rows are."""
    return (corpora / leaf.strip("/")).with_suffix(".jsonl")


def devices_of(corpora: Path, leaf: str, count: int, rows: int, seed: int) -> list[Device]:
    """``count`` devices with at most ``rows`` training rows each, dealt by natural owner."""
    hands = deal(Leaf(file_of(corpora, leaf), leaf), count)
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for number, hand in enumerate(hands):
            name = f"{leaf}#{number + 1}"
            rng = np.random.default_rng(seed_of("rows", seed, name))
            chosen = rng.permutation(len(hand.training))[:rows]
            file = Path(folder) / f"{number}.jsonl"
            write(file, [hand.training[at] for at in sorted(chosen)], ())
            made.append(Device(name, leaf, tuple(read_rows(file))))
    return made


def held_out_of(corpora: Path, leaf: str, most: int, *, apart_from: Sequence[Row] = ()) -> Sequence[Row]:
    """At most ``most`` held-out rows of a leaf, spread over its file, the same for every seed and none of
    ``apart_from``."""
    known = {row.content for row in apart_from}
    rows = [
        row
        for row in read_rows(file_of(corpora, leaf))
        if row.split in HELD_OUT_SPLITS and row.content not in known
    ]
    return rows[:: max(1, len(rows) // most)][:most]
