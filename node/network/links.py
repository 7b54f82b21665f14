"""Who is connected: at most one connection per peer and direction, the newer replacing the older.

When two nodes dial each other at the same moment both connections stand, and either serves. When a node has
crashed and comes back, its new connection displaces the dead one without waiting for a time-out.
"""

from __future__ import annotations

from banyan.node.network.connection import Connection
from banyan.node.network.transport import NodeId


class Links:
    """The connections whose peers have proved to be on our network."""

    def __init__(self) -> None:
        self._by_peer: dict[NodeId, list[Connection]] = {}

    def __len__(self) -> int:
        return sum(len(connections) for connections in self._by_peer.values())

    def add(self, connection: Connection) -> bool:
        """Take it in, closing the one it replaces; whether the peer was not connected before."""
        connections = self._by_peer.setdefault(connection.peer, [])
        first = not connections
        for other in [c for c in connections if c.initiator == connection.initiator]:
            connections.remove(other)
            other.close()
        connections.append(connection)
        return first

    def remove(self, connection: Connection) -> bool:
        """It ended; whether that was the peer's last."""
        connections = self._by_peer.get(connection.peer)
        if connections is None or connection not in connections:
            return False
        connections.remove(connection)
        if not connections:
            del self._by_peer[connection.peer]
        return not connections

    def best(self, peer: NodeId) -> Connection | None:
        """The newest connection to ``peer`` that has not ended."""
        for connection in reversed(self._by_peer.get(peer, ())):
            if not connection.closed.is_set():
                return connection
        return None

    def of(self, peer: NodeId) -> tuple[Connection, ...]:
        """Every connection to ``peer``."""
        return tuple(self._by_peer.get(peer, ()))

    def peers(self) -> tuple[NodeId, ...]:
        """Everyone connected, sorted."""
        return tuple(sorted(self._by_peer))
