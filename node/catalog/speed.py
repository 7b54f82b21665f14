"""How fast a model of the tree would be here, from what this machine was measured to do."""

from __future__ import annotations

from banyan.node.catalog.hardware import Device
from banyan.node.catalog.listing import Listing
from banyan.node.catalog.memory import BYTES
from banyan.node.catalog.need import Precision, Use


def tokens_per_second(listing: Listing, device: Device, use: Use, precision: Precision) -> float | None:
    """Tokens a second, or None on a machine that was not measured.

    To run: every weight is read once a token, and takes two operations (Pope et al., arXiv:2211.05102, section 2).
    To train B with the base frozen: forward and the gradient of activations, 2 P operations each; the weights' own
    gradient is not computed. At most what the machine was measured to do, so a real run is somewhat slower.
    """
    if device.bytes_per_second is None or device.flops is None:
        return None
    parameters = listing.base.parameters + listing.adapter_parameters + listing.adapter_inputs
    if use == "train":
        return device.flops / (4 * parameters)
    return 1 / (parameters * BYTES[precision] / device.bytes_per_second + 2 * parameters / device.flops)
