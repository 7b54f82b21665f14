"""What a device sends in one round."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from banyan.simulations.record import RunRecord

__all__ = ["Traffic", "rounds_of", "traffic_of"]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Messages and bytes (of messages and of blobs served) that a device sent, divided by the rounds of its branch."""

    name: str
    attacks: bool
    messages: float
    bytes: float


def rounds_of(record: RunRecord) -> dict[str, int]:
    """How many rounds each branch had: its releases, or the steps of its devices where nobody releases."""
    releases = Counter(release.branch for release in record.releases)
    steps: dict[str, int] = {}
    for score in record.scores:
        steps[score.branch] = max(steps.get(score.branch, 0), score.height)
    return {branch: max(releases[branch] or steps.get(branch, 0), 1) for branch in record.branches}


def traffic_of(record: RunRecord) -> list[Traffic]:
    """Every device's, in the record's order."""
    rounds = rounds_of(record)
    return [
        Traffic(
            node.name,
            node.attack is not None,
            node.messages / rounds[node.branch],
            (node.bytes + node.blob_bytes) / rounds[node.branch],
        )
        for node in record.nodes
    ]
