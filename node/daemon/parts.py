"""What a daemon is made of beside itself: given from outside, so that tests and simulations give fakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from banyan.node.daemon.clock import Clock, wall_clock
from banyan.node.daemon.jobs import Workers
from banyan.node.network.transport import Transport

if TYPE_CHECKING:
    from banyan.node.daemon.service import Daemon


@dataclass(frozen=True, slots=True)
class Parts:
    """Makers of the transport and of the workers of a daemon that has opened its state directory."""

    transport: Callable[[Daemon], Transport]
    workers: Callable[[Daemon], Workers]
    clock: Clock = wall_clock
