"""What would have to change for a model that matches better than all that fit: memory, precision, another wish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from banyan.node.catalog.constraints import Obstacle, memory_of, obstacles
from banyan.node.catalog.hardware import Device
from banyan.node.catalog.listing import Listing
from banyan.node.catalog.memory import needed
from banyan.node.catalog.need import Need, Precision
from banyan.node.catalog.sizes import in_words

#: Models that are looked at, and changes that are named, at most.
LOOKED_AT: Final = 5
NAMED: Final = 4

_SMALLER: Final[tuple[Precision, ...]] = ("bfloat16", "int8")


def remedies(
    better: Sequence[tuple[Listing, Sequence[Obstacle]]], need: Need, device: Device
) -> tuple[str, ...]:
    """Sentences, the change that asks least of the person first, each about the best match that it would bring."""
    changes: dict[str, str] = {}
    for listing, found in better[:LOOKED_AT]:
        causes = {obstacle.cause for obstacle in found}
        if causes == {"memory"}:
            _more_room(changes, listing, need, device)
        elif len(causes) == 1:
            (cause,) = causes
            changes.setdefault(cause, _single(listing, found[0], need))
    if not changes and better:
        listing, found = better[0]
        changes["several"] = f"{listing.path} {', and '.join(each.what for each in found)}."
    return tuple(changes.values())[:NAMED]


def _more_room(changes: dict[str, str], listing: Listing, need: Need, device: Device) -> None:
    room, path = memory_of(need, device), listing.path
    for precision in _SMALLER:
        takes = needed(listing, need.use, precision)
        if precision in device.precisions or takes > room or (need.use == "train" and precision == "int8"):
            continue
        how = (
            "which a GPU that has it does"
            if precision == "bfloat16"
            else "exported and run by a program for quantised models"
        )
        changes.setdefault(precision, f"In {precision}, {how}, {path} would need {in_words(takes)} and fit.")
        break
    least = min(needed(listing, need.use, each) for each in device.precisions)
    changes.setdefault("memory", f"With {in_words(least)} of memory (now {in_words(room)}) {path} would fit.")
    if need.use == "train":
        only_run = need.model_copy(update={"use": "run"})
        if not obstacles(listing, only_run, device):
            changes.setdefault("use", f"{path} can be run here, though not trained.")


def _single(listing: Listing, obstacle: Obstacle, need: Need) -> str:
    match obstacle.cause:
        case "disk":
            return f"With {in_words(listing.download)} of free disk {listing.path} would fit."
        case "language":
            return f"{listing.path} would fit if {', '.join(listing.languages)} would do."
        case "license":
            return f"{listing.path} would fit under its license, {', '.join(listing.licenses)}."
        case _:
            return f"{listing.path} would fit, but {obstacle.what}."
