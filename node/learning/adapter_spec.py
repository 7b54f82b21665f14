"""Choosing a new network's adapter: its target matrices and its shared A. Numpy only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from banyan.node.learning.base_model import target_tensors
from banyan.node.learning.shared_a import draw, to_bytes
from banyan.security.model import AdapterSpec

RANK = 16
SCALE = 1.0


def design_adapter(
    folder: Path, *, seed: int, rank: int = RANK, scale: float = SCALE, targets: Sequence[str] | None = None
) -> tuple[AdapterSpec, bytes]:
    """The adapter spec for the base model in ``folder``, and the blob of its shared A, whose hash it holds.

    A frozen A is worth twice the rank that one would give LoRA. Raises :class:`ModelError`, and
    :class:`AdapterError` where a target has fewer inputs than ``rank``.
    """
    tensors = target_tensors(folder, targets)
    blob = to_bytes(draw(seed, rank, tensors))
    return AdapterSpec(rank, scale, seed, hashlib.sha256(blob).digest(), len(blob), tensors), blob
