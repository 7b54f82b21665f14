"""Where the core says its peers are, and whom it is no use to call just now.

The transport keeps a book of its own (what it dialled, what peers told it); this one holds the addresses in
members' signed presences, which the transport does not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import trio

from banyan.node.network.errors import NetworkError, RefusedByPeer


class Dials(Protocol):
    """The two things of a transport that dialling needs."""

    def peers(self) -> tuple[str, ...]: ...

    async def dial(self, addresses: Sequence[str]) -> str: ...


class AddressBook:
    """Addresses by peer, and the pause after each failed call (1 s, doubling to ``longest`` s).

    At most ``per_peer`` addresses of a peer are kept, the newest first.
    """

    def __init__(self, own: str, *, per_peer: int = 8, longest: float = 60.0) -> None:
        self._own = own
        self._per_peer = per_peer
        self._longest = longest
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def heard(self, peer: str, addresses: Iterable[str]) -> bool:
        """Note that ``peer`` is said to be at ``addresses``. Returns whether that is news."""
        if peer == self._own:
            return False
        known = self._addresses.get(peer, ())
        merged = tuple(dict.fromkeys((*addresses, *known)))[: self._per_peer]
        if not merged or merged == known:
            return False
        if set(merged) - set(known):
            self._not_before.pop(peer, None)  # somewhere new to try
        self._addresses[peer] = merged
        return True

    def all(self) -> Mapping[str, tuple[str, ...]]:
        """Everything in the book."""
        return dict(self._addresses)

    async def reach(self, transport: Dials, peer: str) -> bool:
        """Whether a message to ``peer`` is worth trying; dials it first if its address is known here."""
        if peer in transport.peers():
            return True
        if trio.current_time() < self._not_before.get(peer, 0.0):
            return False
        if peer not in self._addresses:
            return True  # the transport may know more
        try:
            await transport.dial(self._addresses[peer])
        except (NetworkError, RefusedByPeer):
            self.failed(peer)
            return False
        self.reached(peer)
        return True

    def failed(self, peer: str) -> None:
        """A call did not come through: no other for a while."""
        failures = self._failures[peer] = self._failures.get(peer, 0) + 1
        self._not_before[peer] = trio.current_time() + min(self._longest, 2.0 ** min(failures - 1, 16))

    def reached(self, peer: str) -> None:
        """A connection stands, whoever made it."""
        self._failures.pop(peer, None)
        self._not_before.pop(peer, None)
