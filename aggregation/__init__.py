"""Robust aggregation: n vectors in, one vector out that no minority of them can bend."""

from .centered_clipping import CenteredClipping
from .encoding import CODECS, EncodedVector, encode
from .errors import AggregationError, NotFinite, TooFewInputs
from .geometric_median import GeometricMedian
from .krum import Krum, MultiKrum
from .mean import Mean
from .median import Median
from .nearest_neighbor_mixing import NearestNeighborMixing
from .registry import build, pre_aggregations, rules
from .rule import Aggregate, PreAggregation, Rule
from .trimmed_mean import TrimmedMean

__all__ = [
    "CODECS",
    "Aggregate",
    "AggregationError",
    "CenteredClipping",
    "EncodedVector",
    "GeometricMedian",
    "Krum",
    "Mean",
    "Median",
    "MultiKrum",
    "NearestNeighborMixing",
    "NotFinite",
    "PreAggregation",
    "Rule",
    "TooFewInputs",
    "TrimmedMean",
    "build",
    "encode",
    "pre_aggregations",
    "rules",
]
