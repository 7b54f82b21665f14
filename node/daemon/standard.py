"""The parts of a real node: libp2p's wire, child processes, this machine's clock."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from banyan.node.daemon.jobs import Workers
from banyan.node.daemon.parts import Parts
from banyan.node.network.limits import NetworkLimits
from banyan.node.network.transport import Transport
from banyan.node.settings import Network
from banyan.protocol.events import ServiceRestarted
from banyan.security.charter import Charter

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
        blobs=daemon.shared_blobs,
        host=chosen.listen,
        port=daemon.port,
        announce=announce,
        limits=_limits(daemon.charter, chosen),
        local_discovery=chosen.mdns,
        failed=report,
    )


def _limits(charter: Charter | None, chosen: Network) -> NetworkLimits:
    """The charter's limits where it is known, this node's own time-outs.

    A file of a base model is a blob that every root signed for, so it may be as large as the charter says.
    """
    timeout = chosen.timeout
    own = NetworkLimits(
        connections=chosen.connections,
        upload_bytes_per_second=chosen.upload,
        handshake_timeout=timeout,
        dial_timeout=max(1.0, timeout / 2),
        request_timeout=timeout * 1.5,
        chunk_timeout=timeout * 2,
        write_timeout=timeout * 2,
    )
    if charter is None:
        return own
    limits, bases = charter.limits, (ground.base for ground in charter.foundations.values())
    return replace(
        own,
        connections=min(chosen.connections, limits.connections),
        streams_per_peer=limits.streams_per_peer,
        bytes_per_second_per_peer=limits.bytes_per_second_per_peer,
        message_bytes=limits.message_bytes,
        blob_bytes=max(own.blob_bytes, *(entry.size for base in bases for entry in base.files)),
    )
