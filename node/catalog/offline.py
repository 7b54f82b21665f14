"""The catalog of a node that is not running, from its store: verified anew, as the node itself would at its start."""

from __future__ import annotations

import random

from banyan.node import membership
from banyan.node.catalog.listing import Listing
from banyan.node.home import Home, HomeError
from banyan.node.settings import load
from banyan.node.store import Database
from banyan.protocol.catalog import plain_entry
from banyan.protocol.peer import Peer, PeerSettings


class _Silent:
    """Has the node's name and signs nothing."""

    def __init__(self, node: str) -> None:
        self.node_id = node

    def sign(self, message: bytes) -> bytes:
        raise RuntimeError("a catalog that is only read signs nothing")


def read(home: Home) -> list[Listing]:
    """Every card in the store of ``home``, by path.

    Raises :class:`HomeError` where this node has not reached its network yet, and the store's own errors.
    """
    charter, credential = membership.load_charter(home), membership.load_credential(home)
    if charter is None or credential is None:
        raise HomeError(f"{home.root} has not reached a network yet", "Start it once with `banyan up`")
    if not home.database.exists():
        return []
    member = membership.decode_credential(credential)
    branch = load(home.settings).training.branch or member.scope
    peer = Peer(
        charter,
        _Silent(member.member),
        PeerSettings(branch if branch in charter.branches else "/", member),
        random.Random(0),
    )
    database = Database(home.database)
    try:
        peer.restore(
            database.records(), {k: v for k, v in database.state().items() if not k.startswith("node/")}
        )
    finally:
        database.close()
    return [Listing.model_validate(plain_entry(entry)) for entry in peer.catalog]
