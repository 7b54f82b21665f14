"""How much memory a model of the tree takes, from its sizes alone.

To run it (batch 1, ``tokens`` in its window)::

    weights      P · b
    adapter      4 · (A + B)                       float32, on top of the base
    keys, values 2 · L · kv · tokens · b
    work         tokens · (4 · h + 2 · m) · b + 4 · tokens² + 4 · V

To train it, the weights and a lesson beside them, as :mod:`banyan.node.learning.fit` counts it; and in both cases a
tenth more, for what allocators leave unused, and ``RUNTIME`` for Python, PyTorch and transformers. P are the base's
parameters, b the bytes of one at that precision, L layers, h hidden and m intermediate width, kv the width of keys, V
the vocabulary, A and B the numbers of the shared A and of B; tokens² is the mask. The pages of the weights' file, which
the kernel takes back where it needs them, are not counted. ``benchmarks/results/catalog-memory.json`` holds the formula
against processes that load a model, answer and train.
"""

from __future__ import annotations

from typing import Final

from banyan.node.catalog.listing import Listing
from banyan.node.catalog.need import Precision, Use
from banyan.node.learning.fit import SLACK, Shape, lesson_bytes, weight_bytes

#: Bytes of one parameter. int8 carries a float16 scale for each block of 32.
BYTES: Final[dict[Precision, float]] = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0 + 2 / 32}

#: Bytes of a worker before it has loaded a model.
RUNTIME: Final = 560_000_000

#: Tokens in the window for which memory to run is named, where the model has so long a context.
WINDOW: Final = 2_048

#: Rows and tokens of a training step, as the settings have them: 4 new rows and twice as many replayed, of 128 tokens.
ROWS: Final = 12
TOKENS: Final = 128


def to_run(listing: Listing, precision: Precision, tokens: int = WINDOW) -> int:
    """Bytes to answer with the model of ``listing``, at most ``tokens`` in its window."""
    base, size = listing.base, BYTES[precision]
    kept = max(2.0, size)  # int8 is for weights; what is computed stays wider
    tokens = min(tokens, base.context)
    weights = base.parameters * size
    adapter = 4 * (listing.adapter_inputs + listing.adapter_parameters)
    cache = 2 * base.layers * base.kv_width * tokens * kept
    work = tokens * (4 * base.hidden + 2 * base.intermediate) * kept + 4 * tokens**2 + 4 * base.vocabulary
    return round(RUNTIME + SLACK * (weights + adapter + cache + work))


def to_train(listing: Listing, precision: Precision, rows: int = ROWS, tokens: int = TOKENS) -> int:
    """Bytes to train the model's B in steps of ``rows`` rows of ``tokens`` tokens."""
    base, size = listing.base, BYTES[precision]
    shape = Shape(
        base.parameters, base.layers, base.hidden, base.intermediate, base.kv_width, base.vocabulary
    )
    kept = max(2.0, size)  # int8 is for weights; what is computed stays wider
    trained, inputs = listing.adapter_parameters, listing.adapter_inputs
    lesson = lesson_bytes(shape, trained, inputs, min(tokens, base.context), rows, kept)
    return round(RUNTIME + SLACK * weight_bytes(base.parameters, size) + lesson)


def needed(listing: Listing, use: Use, precision: Precision) -> int:
    """Bytes for ``use`` at ``precision``."""
    return to_train(listing, precision) if use == "train" else to_run(listing, precision)
