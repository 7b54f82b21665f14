"""How one device talks with the others: connections, messages, blobs, and finding peers.

Start at :mod:`~banyan.node.network.transport`, the interface the daemon codes against. Two transports
implement it: :mod:`~banyan.node.network.libp2p_host` for real, :mod:`~banyan.node.network.memory` for tests.
Importing this package imports neither.
"""
