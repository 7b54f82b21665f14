"""The parts of a real node: libp2p's wire, child processes, this machine's clock."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from banyan.node.daemon.jobs import Workers
from banyan.node.daemon.parts import Parts
from banyan.node.network.limits import NetworkLimits
from banyan.node.network.transport import Transport
from banyan.protocol.events import ServiceRestarted
from banyan.security.charter import Limits

if TYPE_CHECKING:
    from banyan.node.daemon.service import Daemon


def standard_parts() -> Parts:
    """What ``banyan up`` runs."""
    return Parts(transport=libp2p_transport, workers=_workers)


def _workers(daemon: Daemon) -> Workers:
    from banyan.node.daemon.processes import ProcessWorkers

    return ProcessWorkers(daemon)


def libp2p_transport(daemon: Daemon) -> Transport:
    """A node's transport over libp2p's wire, with the owner's settings and the charter's limits."""
    from banyan.node.network.libp2p_host import Libp2pTransport

    chosen = daemon.settings.network
    own = f"/p2p/{daemon.identity.node_id}"
    announce = tuple(text if "/p2p/" in text else text + own for text in chosen.announce)

    def report(service: str, error: Exception, delay: float) -> None:
        daemon.emit(ServiceRestarted(service=f"network {service}", reason=repr(error), attempt=1))

    return Libp2pTransport(
        daemon.identity,
        daemon.network,
        blobs=daemon.blobs,
        host=chosen.listen,
        port=daemon.port,
        announce=announce,
        limits=_limits(daemon.charter.limits if daemon.charter else None, chosen.timeout, chosen.connections),
        local_discovery=chosen.mdns,
        failed=report,
    )


def _limits(charter: Limits | None, timeout: float, connections: int) -> NetworkLimits:
    """The charter's limits where it is known, this node's own time-outs."""
    own = NetworkLimits(
        connections=connections,
        handshake_timeout=timeout,
        dial_timeout=max(1.0, timeout / 2),
        request_timeout=timeout * 1.5,
        chunk_timeout=timeout * 2,
        write_timeout=timeout * 2,
    )
    if charter is None:
        return own
    return replace(
        own,
        connections=min(connections, charter.connections),
        streams_per_peer=charter.streams_per_peer,
        bytes_per_second_per_peer=charter.bytes_per_second_per_peer,
        message_bytes=charter.message_bytes,
    )
