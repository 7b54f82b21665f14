"""Bucketing: average the inputs in small groups, drawn by lot, before the rule."""

from __future__ import annotations

import hashlib

import numpy as np

from .arithmetic import Matrix
from .errors import AggregationError
from .points import Points
from .rule import PreAggregation

_SAMPLE = 256


class Bucketing(PreAggregation):
    """Put the inputs into buckets of ``size`` by lot and pass on the mean of each bucket.

    Buckets differ less from each other than inputs do, which helps rules that mistake variety for malice;
    the price is that one malicious input spoils its whole bucket: the rule after it sees up to f bad points
    among ceil(n / size).

    The lot is a hash of the inputs and of ``salt``, so that every peer draws the same buckets in whatever
    order its inputs came. Whoever sends last can try inputs until the lot suits it: where that matters,
    give a salt that nobody knew when the inputs were signed, such as the last release's certificate.

    *Condition*: enough buckets for the rule that follows. *Cost*: none of its own before weight rules.
    *Paper*: Karimireddy, He and Jaggi, Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing,
    2022 (s-resampling).

    >>> from .median import Median
    >>> rule = Bucketing(f=1, size=2) >> Median(f=1)
    >>> rule.minimum_n, rule.breakdown
    (5, 0.25)
    """

    name = "bucketing"

    def __init__(self, f: int = 0, size: int = 2, salt: bytes = b"") -> None:
        super().__init__(f)
        if size < 1:
            raise AggregationError(f"a bucket holds at least one input, not {size}")
        self.size, self.salt = size, salt

    def outputs(self, n: int) -> int:
        return -(-n // self.size)

    def inputs(self, outputs: int) -> int:
        return self.size * (outputs - 1) + 1

    def mix(self, points: Points) -> Matrix:
        lot = self._lot(points)
        weights = np.zeros((self.outputs(points.n), points.n))
        for bucket, row in enumerate(weights):
            members = lot[bucket * self.size : (bucket + 1) * self.size]
            row[members] = 1 / len(members)
        return weights

    def _lot(self, points: Points) -> list[int]:
        """The points in an order drawn by a hash of some columns of all inputs."""
        step = max(1, points.rows.d // _SAMPLE)
        sample = [points.rows.sample(i, step) for i in range(points.rows.n)]
        seed = hashlib.blake2b(self.salt + b"".join(sample), digest_size=32).digest()
        ticket = [hashlib.blake2b(seed + i.to_bytes(4, "big")).digest() for i in range(points.n)]
        return sorted(range(points.n), key=ticket.__getitem__)
