"""Whether a model fits this device, and how many rows a training step may have: plain formulas from its numbers.

All sizes in bytes. With P parameters, a hidden width of h, L layers, a vocabulary of V, D trained numbers and sequences
of T tokens:

- weights: 4 P (float32; 2 P where a GPU computes in bfloat16);
- the adapter: 16 D, for B, its gradient and AdamW's two moments;
- a row of a step: T (34 h L + 12 V), what the layers keep for the backward pass at two to four bytes a number (after
  Korthikanti et al. 2022, equation 1, without the attention matrices) and the logits with their gradient in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """The numbers of a model that its memory depends on."""

    parameters: int
    width: int
    layers: int
    vocabulary: int


def weight_bytes(parameters: int, *, half: bool = False) -> int:
    """What the frozen weights take."""
    return parameters * (2 if half else 4)


def training_bytes(shape: Shape, trained: int, tokens: int, rows: int, *, half: bool = False) -> int:
    """What training takes at its peak; see the module's docstring for the formula."""
    row = tokens * (34 * shape.width * shape.layers + 12 * shape.vocabulary)
    return weight_bytes(shape.parameters, half=half) + 16 * trained + rows * row


def rows_that_fit(shape: Shape, trained: int, tokens: int, free: int, *, half: bool = False) -> int:
    """The largest power of two of rows, at most :data:`MOST_ROWS`, with which training takes no more than
    :data:`SHARE` of ``free``; 0 where not even one row does."""
    rows = MOST_ROWS
    while rows and training_bytes(shape, trained, tokens, rows, half=half) > SHARE * free:
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
