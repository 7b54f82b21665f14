"""What a daemon is made of beside itself: given from outside, so that tests and simulations give fakes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from banyan.node.daemon.clock import Clock, wall_clock
from banyan.node.daemon.jobs import Workers
from banyan.node.network.transport import Transport
from banyan.protocol.peer import Peer, PeerSettings

if TYPE_CHECKING:
    from banyan.node.daemon.service import Daemon


def honest_core(daemon: Daemon, settings: PeerSettings, rng: random.Random) -> Peer:
    """The core of every node that keeps to the protocol."""
    assert daemon.charter is not None
    return Peer(daemon.charter, daemon.identity, settings, rng)


@dataclass(frozen=True, slots=True)
class Parts:
    """Makers of the transport, the workers and the core of a daemon that has opened its state directory."""

    transport: Callable[[Daemon], Transport]
    workers: Callable[[Daemon], Workers]
    clock: Clock = wall_clock
    core: Callable[[Daemon, PeerSettings, random.Random], Peer] = honest_core
