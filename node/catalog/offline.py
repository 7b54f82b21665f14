"""The catalog of a node that is not running, from its store: verified anew, as the node itself would at its start."""

from __future__ import annotations

from banyan.node.catalog.listing import Listing
from banyan.node.home import Home
from banyan.node.stored_core import charter_of, stored_core
from banyan.protocol.catalog import plain_entry


def read(home: Home) -> list[Listing]:
    """Every card in the store of ``home``, by path.

    Raises :class:`HomeError` where this node has not reached its network yet, and the store's own errors.
    """
    charter_of(home)
    if not home.database.exists():
        return []
    return [Listing.model_validate(plain_entry(entry)) for entry in stored_core(home).catalog]
