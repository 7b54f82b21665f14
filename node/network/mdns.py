"""Finding nodes on the local network by multicast DNS, where there is multicast.

The ``zeroconf`` library runs its own threads; what it finds crosses into trio through a bounded channel, and
its blocking calls run in worker threads. It is imported only when this service starts. Everything heard is
a hint: only an address that says it is of our network is passed on, and dialling it proves the rest.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import trio

from banyan.node.network.addresses import Address, BadAddress, at

if TYPE_CHECKING:
    from zeroconf import Zeroconf

log = logging.getLogger(__name__)

SERVICE: Final = "_banyan._tcp.local."
_RESOLVE_MS: Final = 3000
_HINTS: Final = 64


async def discover(own: Sequence[Address], network: bytes, found: Callable[[Sequence[str]], None]) -> None:
    """Announce ``own`` addresses and call ``found`` with those of others on ``network``, for ever.

    Returns at once, with a line in the log, where multicast does not work: nothing depends on it.
    """
    if not own:
        return
    try:
        import zeroconf

        zone = await trio.to_thread.run_sync(lambda: zeroconf.Zeroconf(ip_version=zeroconf.IPVersion.V4Only))
    except (ImportError, OSError) as error:
        log.info("Local discovery is off: multicast is not available here (%s)", error)
        return
    try:
        await _run(zone, own, network, found)
    except OSError as error:
        log.info("Local discovery stopped: %s", error)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(zone.close)


async def _run(
    zone: Zeroconf, own: Sequence[Address], network: bytes, found: Callable[[Sequence[str]], None]
) -> None:
    from zeroconf import ServiceBrowser, ServiceInfo, ServiceStateChange

    peer, tag = own[0].peer, network[:8].hex()
    name = f"{peer}.{SERVICE}"
    info = ServiceInfo(
        SERVICE,
        name,
        port=own[0].port,
        addresses=[socket.inet_aton(a.host) for a in own if a.kind == "ip4"],
        properties={"id": peer, "network": tag},
        server=f"{peer}.local.",
    )
    await trio.to_thread.run_sync(zone.register_service, info)
    hints, heard = trio.open_memory_channel[str](_HINTS)
    token = trio.lowlevel.current_trio_token()

    def note(hint: str) -> None:
        try:
            hints.send_nowait(hint)
        except trio.WouldBlock:
            log.debug("Local discovery: too many announcements at once")

    def on_change(service_type: str, name: str, state_change: ServiceStateChange, **_: Any) -> None:
        """Called in a thread of the library."""
        if state_change is not ServiceStateChange.Removed:
            try:
                token.run_sync_soon(note, name)
            except trio.RunFinishedError:
                log.debug("Local discovery: the node has stopped")

    browser = ServiceBrowser(zone, SERVICE, handlers=[on_change])
    try:
        async for hint in heard:
            if hint != name:
                answer = await trio.to_thread.run_sync(zone.get_service_info, SERVICE, hint, _RESOLVE_MS)
                if answer is not None and (addresses := addresses_of(answer, tag)):
                    found(addresses)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(browser.cancel)


def addresses_of(info: Any, tag: str) -> list[str]:
    """The dialable addresses in a service record of the network ``tag``; none if it is of another."""
    properties = info.properties or {}
    if properties.get(b"network") != tag.encode():
        return []
    peer = (properties.get(b"id") or b"").decode("ascii", "replace")
    addresses = []
    for host in info.parsed_addresses():
        try:
            addresses.append(str(Address.parse(str(at(host, info.port, peer)))))
        except (BadAddress, ValueError):
            continue
    return addresses
