"""Every number that bounds what a peer may cost us, in one frozen place."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class NetworkLimits:
    """Bounds on peers. Sizes in bytes, rates in bytes per second, times in seconds.

    The first six usually come from the charter, so that all nodes of a network agree on them; the times are
    this device's own. Larger numbers serve busy or slow networks better and let one bad peer cost more.
    """

    #: Connections held at once, whoever opened them. More: better reach; each idle one costs about 50 KB.
    connections: int = 64
    #: Streams one peer may have open towards us at once. More: more parallel fetches; more memory per peer.
    streams_per_peer: int = 32
    #: What we read from one peer, on average, over all its connections. Bursts of one second pass unslowed.
    bytes_per_second_per_peer: int = 64 * MIB
    #: The largest message; equal for everybody, or some peers could not hear others.
    message_bytes: int = 64 * KIB
    #: The unit of a blob transfer. Larger: less overhead; a slow peer is noticed later.
    chunk_bytes: int = 1 * MIB
    #: The largest blob we fetch.
    blob_bytes: int = 4 * 1024 * MIB
    #: What we send of blobs, on average, to all peers together. 0: as much as they take.
    upload_bytes_per_second: int = 0

    #: Inbound connections that have not yet proved who they are. The oldest gives way to the newest.
    handshakes: int = 64
    #: Messages received and not yet taken by the daemon; beyond this, senders are told "busy".
    inbox: int = 256
    #: From TCP connect to a proved peer that is on our network.
    handshake_timeout: float = 10.0
    #: For one address while dialling. Several addresses are tried side by side.
    dial_timeout: float = 5.0
    #: For one message, one request or one reply: the write, the other's work, and the read.
    request_timeout: float = 15.0
    #: For one blob chunk to arrive. A peer slower than ``chunk_bytes / chunk_timeout`` is passed over.
    chunk_timeout: float = 20.0
    #: For a peer that does not read what we send. After that its connection is closed.
    write_timeout: float = 20.0
    #: A silent connection is asked for a sign of life this often. Less: a dead peer is noticed sooner.
    ping_interval: float = 15.0
    #: How long the sign of life may take.
    ping_timeout: float = 10.0
