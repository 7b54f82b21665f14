"""Updates that are none: numbers that are not, another adapter's shape, too many bytes."""

from __future__ import annotations

import numpy as np

from banyan.aggregation.encoding import encode
from banyan.protocol.delta import read_delta, write_delta
from banyan.protocol.effects import Trained
from banyan.security.model import TensorSpec
from banyan.simulations.attacks.attacker import Attack

__all__ = ["Infinity", "NaN", "Oversize", "WrongShape"]


class NaN(Attack):
    """Send numbers that are not numbers, which ruin every mean and most medians."""

    number = np.float32(np.nan)

    def forge(self, blob: bytes, event: Trained) -> bytes:
        vector = read_delta(blob, self.charter.adapter).vector
        at = blob.find(vector.scales.tobytes()) if vector.scales is not None else len(blob) - 4
        return blob[:at] + self.number.tobytes() + blob[at + 4 :]


class Infinity(NaN):
    """Send infinite numbers."""

    number = np.float32(np.inf)


class WrongShape(Attack):
    """Send a well-formed update of an adapter with one number less."""

    def forge(self, blob: bytes, event: Trained) -> bytes:
        spec = self.charter.adapter
        shorter = self.change(blob)[: max(1, spec.dimension - 1)]
        tensors = (TensorSpec("another", shorter.size, 1),)
        coded = encode(np.ascontiguousarray(shorter), self.charter.round.codec)
        other = type(spec)(rank=1, scale=1.0, seed=0, a_digest=bytes(32), a_size=0, tensors=tensors)
        return write_delta(coded, spec=other, base=event.base)


class Oversize(Attack):
    """Send far more bytes than the adapter has numbers, to fill memories and disks."""

    def forge(self, blob: bytes, event: Trained) -> bytes:
        return blob + bytes(4 * len(blob) + (1 << 20))
