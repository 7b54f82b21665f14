"""Rules by name, for settings and the command line."""

from __future__ import annotations

from .balance import Balance
from .bucketing import Bucketing
from .bulyan import Bulyan
from .centered_clipping import CenteredClipping
from .clipped_gossip import ClippedGossip
from .clipped_sum import ClippedSum
from .comparative_elimination import ComparativeElimination
from .errors import AggregationError
from .geometric_median import GeometricMedian
from .krum import Krum, MultiKrum
from .meamed import MeaMed
from .mean import Mean
from .median import Median
from .mixing import MixingRule
from .nearest_neighbor_averaging import NearestNeighborAveraging
from .nearest_neighbor_mixing import NearestNeighborMixing
from .norm_clipping import AdaptiveClipping, NormClipping
from .pooled import Pooled
from .rule import PreAggregation, Rule
from .trimmed_mean import TrimmedMean
from .weighted_mean import WeightedMean

_RULES: tuple[type[Rule], ...] = (
    Mean,
    WeightedMean,
    Krum,
    MultiKrum,
    TrimmedMean,
    Median,
    MeaMed,
    GeometricMedian,
    CenteredClipping,
    Bulyan,
    ComparativeElimination,
)
_PRE_AGGREGATIONS: tuple[type[PreAggregation], ...] = (
    NearestNeighborMixing,
    Bucketing,
    NormClipping,
    AdaptiveClipping,
)

_MIXING_RULES: tuple[type[MixingRule], ...] = (
    NearestNeighborAveraging,
    ClippedGossip,
    ClippedSum,
    Balance,
)


def rules() -> dict[str, type[Rule]]:
    """Every rule by its name."""
    return {rule.name: rule for rule in _RULES}


def pre_aggregations() -> dict[str, type[PreAggregation]]:
    """Every pre-aggregation by its name."""
    return {pre.name: pre for pre in _PRE_AGGREGATIONS}


def mixing_rules() -> dict[str, type[MixingRule]]:
    """Every mixing rule by its name."""
    return {rule.name: rule for rule in _MIXING_RULES}


def build(spec: str, f: int = 0) -> Rule:
    """The rule that ``spec`` names: pre-aggregations and then a rule, joined by ``+``.

    Raises :class:`AggregationError` for an unknown name, with all known ones.

    >>> build("nnm+multi-krum", f=1)
    nnm+multi-krum(f=1)
    """
    *before, last = [part.strip() for part in spec.split("+")]
    known, known_before = rules(), pre_aggregations()
    for part in before:
        if part not in known_before:
            raise AggregationError(_unknown("pre-aggregation", part, known_before))
    if last not in known:
        raise AggregationError(_unknown("rule", last, known))
    rule: Rule = known[last](f)
    for part in reversed(before):
        rule = known_before[part](f) >> rule
    return rule


def build_mixing(spec: str, f: int = 0) -> MixingRule:
    """The mixing rule that ``spec`` names, or the rule of :func:`build` over a node and its neighbours.

    Raises :class:`AggregationError` for an unknown name, with all known ones.

    >>> build_mixing("nna", f=1), build_mixing("mean")
    (nna(f=1), pooled mean(f=0))
    """
    known = mixing_rules()
    if spec in known:
        return known[spec](f)
    try:
        return Pooled(build(spec, f))
    except AggregationError as error:
        raise AggregationError(f"{error}; or one of the mixing rules {', '.join(known)}") from None


def _unknown(kind: str, name: str, known: dict[str, type[Rule]] | dict[str, type[PreAggregation]]) -> str:
    return f"there is no {kind} {name!r}: choose one of {', '.join(known)}"
