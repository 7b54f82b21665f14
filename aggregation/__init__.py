"""Robust aggregation: n vectors in, one vector out that no minority of them can bend.

    >>> import numpy as np
    >>> from banyan.aggregation import MultiKrum, NearestNeighborMixing
    >>> updates = np.random.default_rng(0).normal(size=(10, 1000)).astype(np.float32)
    >>> updates[7:] = 100.0                                        # three that lie
    >>> rule = NearestNeighborMixing(f=3) >> MultiKrum(f=3)
    >>> rule.label, rule.minimum_n, rule.breakdown
    ('nnm+multi-krum', 9, 0.5)
    >>> result = rule(updates)
    >>> result.vector.shape, result.left_out, float(abs(result.vector).max()) < 5
    ((1000,), (7, 8, 9), True)

**What goes in.** A float32 array (n, d), or n rows, each an array, a memory map, a torch tensor or an
:class:`EncodedVector` (int8, int4 or bf16, as updates travel). Inputs are read a block of columns at a time,
so the memory a rule needs is bounded whatever n and d. Tensors on an accelerator are worked on there.

**What comes out.** An :class:`Aggregate`: the vector, and where the rule has such a notion the weight and the
score of each input and who was left out. The same bits in whatever order the inputs come, on however many
threads; for encoded inputs, the same on every machine, with the compiled kernel or without it.

**Choosing a rule.** Each rule states what it needs (``minimum_n``), the share of malicious inputs up to which
it is proved (``breakdown``), its cost and its paper. None is safe where honest inputs differ strongly and
the attacker searches: see docs/aggregation.md for who survives what.

================== =========== ===================================================================
rule               needs n >=  in one line
================== =========== ===================================================================
mean               1           the average; no defence
weighted-mean      1           an average with weights from somebody trusted; no defence
krum               2f + 3      the one input with the closest neighbours
multi-krum         2f + 3      the mean of the n - f inputs with the closest neighbours
trimmed-mean       2f + 1      per column, the mean without the f largest and f smallest
median             2f + 1      per column, the middle value
meamed             2f + 1      per column, the mean of the n - f values closest to the median
geometric-median   2f + 1      the point with the smallest sum of distances
centered-clipping  2f + 1      from a trusted centre, steps that no input can make longer
bulyan             4f + 3      Krum's choice of n - 2f, then per column the values near the median
cge                2f + 1      the mean of the n - f shortest
================== =========== ===================================================================

Before any of them, joined with ``>>`` (or ``+`` in a name such as ``"nnm+trimmed-mean"``): ``nnm`` replaces
each input by the mean of its nearest, ``bucketing`` averages small groups drawn by lot, ``norm-clipping``
and ``arc`` shorten the long ones. For gossip, where a node trusts its own vector, there are the mixing rules
``nna``, ``clipped-gossip``, ``cs+`` and ``balance``, or any rule with the node as one more input (``pooled``);
:func:`build_mixing` finds them by name. ``banyan.aggregation.lora`` does the same for adapters
that do not share their A.
"""

from .balance import Balance
from .bucketing import Bucketing
from .bulyan import Bulyan
from .centered_clipping import CenteredClipping
from .clipped_gossip import ClippedGossip
from .clipped_sum import ClippedSum
from .comparative_elimination import ComparativeElimination
from .encoding import CODECS, EncodedVector, encode
from .errors import AggregationError, NotFinite, TooFewInputs
from .geometric_median import GeometricMedian
from .krum import Krum, MultiKrum
from .meamed import MeaMed
from .mean import Mean
from .median import Median
from .mixing import MixingRule, Mixture
from .nearest_neighbor_averaging import NearestNeighborAveraging
from .nearest_neighbor_mixing import NearestNeighborMixing
from .norm_clipping import AdaptiveClipping, NormClipping
from .pooled import Pooled
from .registry import build, build_mixing, mixing_rules, pre_aggregations, rules
from .rule import Aggregate, PreAggregation, Rule
from .trimmed_mean import TrimmedMean
from .weighted_mean import WeightedMean

__all__ = [
    "CODECS",
    "AdaptiveClipping",
    "Aggregate",
    "AggregationError",
    "Balance",
    "Bucketing",
    "Bulyan",
    "CenteredClipping",
    "ClippedGossip",
    "ClippedSum",
    "ComparativeElimination",
    "EncodedVector",
    "GeometricMedian",
    "Krum",
    "MeaMed",
    "Mean",
    "Median",
    "MixingRule",
    "Mixture",
    "MultiKrum",
    "NearestNeighborAveraging",
    "NearestNeighborMixing",
    "NormClipping",
    "NotFinite",
    "Pooled",
    "PreAggregation",
    "Rule",
    "TooFewInputs",
    "TrimmedMean",
    "WeightedMean",
    "build",
    "build_mixing",
    "encode",
    "mixing_rules",
    "pre_aggregations",
    "rules",
]
