"""Which model fits this person: the cards of the network, this machine's measure, and a choice with reasons.

:class:`Need` says what is wanted; :func:`~banyan.node.catalog.understand.understand` reads one from free text,
:func:`~banyan.node.catalog.hardware.probe` measures the machine, and
:class:`~banyan.node.catalog.recommender.Recommender` chooses among the :class:`Listing` of a node's catalog.
"""

from banyan.node.catalog.listing import BaseFacts, Listing, Probe
from banyan.node.catalog.need import Need

__all__ = ["BaseFacts", "Listing", "Need", "Probe"]
