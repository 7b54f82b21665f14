"""What peers cost: bytes exchanged with each, its allowance, and how often each kind of bad input came."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from banyan.node.network.throttle import TokenBucket
from banyan.node.network.transport import NodeId, Traffic

#: Peers remembered; ids cost nothing to make, so the list must not grow with them.
PEERS = 1024


@dataclass(slots=True)
class _Account:
    traffic: Traffic
    bucket: TokenBucket


class Ledger:
    """Per-peer accounts, those used longest ago forgotten first, and one count per reason of refusal."""

    def __init__(self, bytes_per_second_per_peer: float) -> None:
        self._rate = bytes_per_second_per_peer
        self._accounts: OrderedDict[NodeId, _Account] = OrderedDict()
        self._refusals: Counter[str] = Counter()

    def count(self, reason: str) -> None:
        """Something was refused."""
        self._refusals[reason] += 1

    def traffic_of(self, peer: NodeId) -> Traffic:
        return self._account(peer).traffic

    def bucket_of(self, peer: NodeId) -> TokenBucket:
        """One allowance for all connections of ``peer``."""
        return self._account(peer).bucket

    def refusals(self) -> Mapping[str, int]:
        return dict(self._refusals)

    def traffic(self) -> Mapping[NodeId, Traffic]:
        return {peer: account.traffic for peer, account in self._accounts.items()}

    def _account(self, peer: NodeId) -> _Account:
        account = self._accounts.get(peer)
        if account is None:
            account = self._accounts[peer] = _Account(Traffic(), TokenBucket(self._rate))
            if len(self._accounts) > PEERS:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(peer)
        return account
