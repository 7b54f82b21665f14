"""Where commands get the catalog from: the running node, else its store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from banyan.node.catalog.listing import Listing
    from banyan.node.home import Home


def listings(home: Home) -> list[Listing]:
    """Every model card that the node of ``home`` holds, by path, whether it runs or not."""
    from banyan.node.catalog.listing import Listing
    from banyan.node.catalog.offline import read
    from banyan.node.cli.client import Client, NotRunning

    try:
        answer = Client(home).get("/cards")
    except NotRunning:
        home.require_network()
        return read(home)
    return [Listing.model_validate(card) for card in answer["cards"]]


def model_line(listing: Listing) -> str:
    """The base and its size: ``smollm 135M``."""
    count = listing.base.parameters
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{listing.base.name} {count / size:.3g}{unit}"
    return f"{listing.base.name} {count}"
