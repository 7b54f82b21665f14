"""What peers say and decide, as pure state machines: no I/O, no clock, no threads, no randomness of their own.

Begin with :class:`banyan.protocol.peer.Peer` (one node's mind) and :mod:`banyan.protocol.effects` (what goes in and
what comes out). Below it: :mod:`~banyan.protocol.branch` (one branch at one node), :mod:`~banyan.protocol.round` (which
updates came), :mod:`~banyan.protocol.closing` and :mod:`~banyan.protocol.judgement` (from a proposal to a certificate),
:mod:`~banyan.protocol.agreement` (how a committee decides), :mod:`~banyan.protocol.learner` (this node's own training),
:mod:`~banyan.protocol.release` and :mod:`~banyan.protocol.chain` (the certified history),
:mod:`~banyan.protocol.records` and :mod:`~banyan.protocol.sync` (who knows what), :mod:`~banyan.protocol.members`.
"""
