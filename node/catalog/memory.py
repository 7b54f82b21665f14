"""How much memory a model of the tree takes, from its sizes alone.

To run it (batch 1, ``tokens`` in its window)::

    weights      P · b
    adapter      4 · (A + B)                       float32, on top of the base
    keys, values 2 · L · kv · tokens · b
    work         tokens · (4 · h + 2 · m) · b + 4 · tokens² + 4 · V

To train it (``rows`` of ``tokens`` a step, the base and A frozen, AdamW on B)::

    weights      P · b
    adapter      4 · A + 24 · B                    B, its gradient, two moments, and the vector before and after
    activations  rows · tokens · L · (12 · h + 5 · m + 4 · kv) · c
    logits       rows · tokens · V · 12            float32 logits, their softmax and their gradient

and in both cases a tenth more, for what allocators leave unused, and ``RUNTIME`` for Python, PyTorch and transformers.
P are the base's parameters, b the bytes of one at that precision, c those of an activation, L layers, h hidden and m
intermediate width, kv the width of keys, V the vocabulary, A and B the numbers of the shared A and of B. Activations
are counted as in Korthikanti et al. (arXiv:2205.05198, section 4.1), without dropout, with attention that stores no
scores, for a gated MLP; tokens² is the mask. The pages of the weights' file, which the kernel takes back where it
needs them, are not counted. ``benchmarks/results/catalog-memory.json`` holds the formula against processes that load
a model, answer and train.
"""

from __future__ import annotations

from typing import Final

from banyan.node.catalog.listing import Listing
from banyan.node.catalog.need import Precision, Use

#: Bytes of one parameter. int8 carries a float16 scale for each block of 32.
BYTES: Final[dict[Precision, float]] = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0 + 2 / 32}

#: Bytes of a worker before it has loaded a model.
RUNTIME: Final = 560_000_000

#: What allocators take beyond what is asked of them.
SLACK: Final = 1.1

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
    kept = max(2.0, size)
    tokens = min(tokens, base.context)
    weights = base.parameters * size
    adapter = 4 * listing.adapter_inputs + 24 * listing.adapter_parameters
    width = 12 * base.hidden + 5 * base.intermediate + 4 * base.kv_width
    activations = rows * tokens * base.layers * width * kept
    logits = rows * tokens * base.vocabulary * 12
    return round(RUNTIME + SLACK * (weights + adapter + activations + logits))


def needed(listing: Listing, use: Use, precision: Precision) -> int:
    """Bytes for ``use`` at ``precision``."""
    return to_train(listing, precision) if use == "train" else to_run(listing, precision)
