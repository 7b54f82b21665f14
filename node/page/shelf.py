"""The catalog as the page shows it: each card, and whether its model fits this device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from banyan.node.catalog.constraints import fit, obstacles
from banyan.node.catalog.hardware import Device
from banyan.node.catalog.listing import Listing
from banyan.node.catalog.need import Need
from banyan.node.catalog.searching import matching


def shelf(cards: Iterable[Mapping[str, object]], search: str, device: Device) -> list[dict[str, object]]:
    """``cards`` that match ``search`` (all of them, by path, where it is blank), JSON-ready.

    Each has, beside what the card says, ``download`` and ``memory`` to run it in bytes at ``precision``, and
    ``obstacles``: sentences on why it does not run on ``device``, empty where it does.
    """
    listings = [Listing.model_validate(card) for card in cards]
    chosen = matching(listings, search) if search.strip() else sorted(listings, key=lambda each: each.path)
    return [_page(listing, device) for listing in chosen]


def _page(listing: Listing, device: Device) -> dict[str, object]:
    need = Need()
    precision, memory = fit(listing, need, device)
    return {
        **listing.model_dump(mode="json"),
        "licenses": listing.licenses,
        "download": listing.download,
        "memory": memory,
        "precision": precision,
        "obstacles": [each.what for each in obstacles(listing, need, device)],
    }
