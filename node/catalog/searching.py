"""The cards that match a few words."""

from __future__ import annotations

from collections.abc import Sequence

from banyan.node.catalog.listing import Listing
from banyan.node.catalog.matching import Matcher
from banyan.node.catalog.recommender import LEAST_MATCH
from banyan.node.catalog.understand import understand


def matching(listings: Sequence[Listing], search: str) -> list[Listing]:
    """Those of ``listings`` that match ``search``, the best first."""
    scores = Matcher(tuple(listings)).scores(understand(search))
    ranked = sorted(zip(scores, listings, strict=True), key=lambda pair: (-pair[0], pair[1].path))
    return [listing for score, listing in ranked if score >= LEAST_MATCH]
