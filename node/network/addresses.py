"""Multiaddrs that lead to a node, of the one shape that we dial: ``/ip4/192.0.2.7/tcp/4101/p2p/12D3KooW…``.

Also ``/ip6``, ``/dns``, ``/dns4`` and ``/dns6``. Parsing is strict: one text per address, so that an address
book cannot be filled with spellings of the same place.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from banyan.node.network.transport import NodeId
from banyan.security.errors import Refused
from banyan.security.identity import is_node_id

#: The longest text we look at.
ADDRESS_BYTES: Final = 400
_NAME: Final = re.compile(
    r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)


class BadAddress(Refused):
    """Text that is not an address we can dial; reason ``bad-address``."""

    def __init__(self, text: str, problem: str) -> None:
        shown = f"{text[:80]}…" if len(text) > 80 else text
        super().__init__(
            "bad-address",
            f"'{shown}' is not an address of a node: {problem}",
            "It looks like /ip4/192.0.2.7/tcp/4101/p2p/12D3KooW…",
        )
        self.args = (text, problem)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node listens, and which node it is. ``kind`` is ip4, ip6, dns, dns4 or dns6."""

    kind: str
    host: str
    port: int
    peer: NodeId

    def __str__(self) -> str:
        return f"/{self.kind}/{self.host}/tcp/{self.port}/p2p/{self.peer}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises BadAddress, with the part that is wrong."""
        if len(text) > ADDRESS_BYTES:
            raise BadAddress(text, "it is too long")
        parts = text.split("/")
        if len(parts) != 7 or parts[0] or parts[3] != "tcp" or parts[5] != "p2p":
            raise BadAddress(text, "it is not of the form /ip4/…/tcp/…/p2p/…")
        _, kind, host, _, port, _, peer = parts
        if not is_node_id(peer):
            raise BadAddress(text, "it does not end in a node id")
        if not (port.isascii() and port.isdigit() and str(int(port)) == port and 0 < int(port) < 65536):
            raise BadAddress(text, "its port is not a number from 1 to 65535")
        if kind in ("ip4", "ip6"):
            _check_ip(text, kind, host)
        elif kind not in ("dns", "dns4", "dns6") or not _NAME.fullmatch(host):
            raise BadAddress(text, "its host is neither an IP address nor a name")
        return cls(kind, host, int(port), peer)


def at(host: str, port: int, peer: NodeId) -> Address:
    """The address of an IP host."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    return Address(f"ip{ip.version}", str(ip), port, peer)


def _check_ip(text: str, kind: str, host: str) -> None:
    try:
        ip = ipaddress.IPv4Address(host) if kind == "ip4" else ipaddress.IPv6Address(host)
    except ValueError:
        raise BadAddress(text, "its host is not an IP address of that kind") from None
    if str(ip) != host:
        raise BadAddress(text, f"its host is written {ip} in short")
    if ip.is_unspecified or ip.is_multicast:
        raise BadAddress(text, "its host is not one machine")
