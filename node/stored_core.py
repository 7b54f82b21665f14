"""The core of a node that is not running, from its store: verified anew, as its next start would."""

from __future__ import annotations

import random

from banyan.node import membership
from banyan.node.home import Home, HomeError
from banyan.node.settings import load
from banyan.node.store import Database
from banyan.protocol.peer import Peer, PeerSettings
from banyan.security.charter import Charter

__all__ = ["charter_of", "stored_core"]


class _Mute:
    """A node that only reads its own past, and needs no key for it."""

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id

    def sign(self, message: bytes, /) -> bytes:
        raise AssertionError("reading the store signs nothing")


def charter_of(home: Home) -> Charter:
    """The network's charter. Raises :class:`HomeError` where this node has none yet."""
    home.require_network()
    charter = membership.load_charter(home)
    if charter is None:
        raise HomeError(f"{home.root} has not reached its network yet", "Start it once with `banyan up`")
    return charter


def stored_core(home: Home) -> Peer:
    """Read the core. Raises :class:`HomeError` where this node has not reached its network yet, and the store's own
    errors."""
    charter, data = charter_of(home), membership.load_credential(home)
    if data is None:
        raise HomeError(
            f"{home.root} has a charter but no credential", "Join again with `banyan join INVITE`"
        )
    credential = membership.decode_credential(data)
    chosen = load(home.settings).training.branch
    branch = chosen or membership.first_branch(charter.branches, credential.scope)
    core = Peer(charter, _Mute(credential.member), PeerSettings(branch, credential), random.Random(0))
    database = Database(home.database)
    try:
        state = database.state()
        core.restore(database.records(), {k: v for k, v in state.items() if not k.startswith("node/")})
    finally:
        database.close()
    return core
