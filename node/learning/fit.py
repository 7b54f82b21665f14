"""How much memory training takes, how many rows a step may have, and how many steps fit a round: plain formulas.

Training B in steps of ``rows`` rows of T tokens, the base and A frozen, AdamW on B, takes in bytes::

    weights      P · b
    adapter      4 · A + 24 · B                    B, its gradient, two moments, and the vector before and after
    activations  rows · T · L · (12 · h + 5 · m + 4 · kv) · c
    logits       rows · T · V · 12                 float32 logits, their softmax and their gradient

and a tenth more, for what allocators leave unused. P are the base's parameters, b the bytes of one, c those of an
activation, L layers, h hidden and m intermediate width, kv the width of keys, V the vocabulary, A and B the numbers of
the shared A and of B. Activations are counted as in Korthikanti et al. (arXiv:2205.05198, section 4.1), without
dropout, with attention that stores no scores, for a gated MLP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: What allocators take beyond what is asked of them.
SLACK: Final = 1.1

#: Share of the free memory that training may take; the rest is for the owner's other programs.
SHARE = 0.5

#: Rows a step at most: more hardly make a step steadier.
MOST_ROWS = 32

#: Share of a round's deadline that training should take: the rest is for measuring, the gate and the way there.
ROUND_SHARE = 0.3

#: Steps a round at least and at most, and passes over the data at most.
FEWEST_STEPS, MOST_STEPS, MOST_PASSES = 5, 200, 3


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a base model that its memory depends on."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    kv_width: int
    vocabulary: int


def weight_bytes(parameters: int, each: float = 4.0) -> float:
    """What the frozen weights take, at ``each`` bytes a parameter."""
    return parameters * each


def lesson_bytes(shape: Shape, trained: int, inputs: int, tokens: int, rows: int, each: float = 4.0) -> float:
    """What training takes beside the weights, at ``each`` bytes an activation: see the module. ``trained`` are the
    numbers of B, ``inputs`` those of A."""
    width = 12 * shape.hidden + 5 * shape.intermediate + 4 * shape.kv_width
    row = tokens * (shape.layers * width * each + 12 * shape.vocabulary)
    return SLACK * (4 * inputs + 24 * trained + rows * row)


def rows_that_fit(shape: Shape, trained: int, inputs: int, tokens: int, free: int, each: float = 4.0) -> int:
    """The largest power of two of rows, at most :data:`MOST_ROWS`, with which a lesson takes no more than :data:`SHARE`
    of the ``free`` bytes that there are once the weights are loaded; 0 where not even one row does."""
    rows = MOST_ROWS
    while rows and lesson_bytes(shape, trained, inputs, tokens, rows, each) > SHARE * free:
        rows //= 2
    return rows


def steps_that_fit(step_seconds: float, deadline: float, rows: int, batch: int) -> int:
    """Steps of ``step_seconds`` that take at most :data:`ROUND_SHARE` of a round's ``deadline`` (seconds) and pass over
    ``rows`` at most :data:`MOST_PASSES` times; within :data:`FEWEST_STEPS` and :data:`MOST_STEPS`."""
    in_time = int(ROUND_SHARE * deadline / max(step_seconds, 1e-9))
    in_data = MOST_PASSES * -(-rows // batch)
    return max(FEWEST_STEPS, min(MOST_STEPS, in_time, in_data))


def free_memory() -> int | None:
    """Bytes that a new program could take now; None where the system does not say."""
    try:
        with open("/proc/meminfo", "rb") as file:
            for line in file:
                if line.startswith(b"MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return all_memory()


def all_memory() -> int | None:
    """This device's memory in bytes; None where the system does not say."""
    import os

    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
