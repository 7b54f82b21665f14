"""What can go wrong on the network, in the words of the person who reads it."""

from __future__ import annotations

from banyan.security.errors import BanyanError, Refused


class NetworkError(BanyanError):
    """A connection, a message or a transfer failed. Trying again later may well succeed."""


class PortInUse(NetworkError):
    """The node cannot listen because another program does on the same port. Fatal until the user acts."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"Port {port} on {host} is already in use, by another program or another Banyan node",
            f"Stop the other one (`banyan down` if it is a node), or choose another port: "
            f"`banyan up --port {port % 65_535 + 1}`; port 0 takes any free one",
        )


class PeerUnreachable(NetworkError):
    """No address of a peer led to it."""


class ConnectionLost(NetworkError):
    """The connection to a peer ended while something was under way on it."""


class CutShort(ConnectionLost):
    """The other side finished where more was due."""


class DeliveryFailed(NetworkError):
    """A peer did not acknowledge a message: it may or may not have it."""


class BlobUnavailable(NetworkError):
    """None of the peers asked gave the blob whole and true. ``liars`` sent bytes that do not hash to it."""

    def __init__(self, what: str, cure: str = "", *, liars: tuple[str, ...] = ()) -> None:
        super().__init__(what, cure)
        self.liars = liars


class PeerRefused(Refused):
    """What a peer sent broke a rule or a limit; ``reason`` is the key under which it is counted."""


class RefusedByPeer(Refused):
    """A peer told us that it does not accept what we sent, and why."""
