"""Which model a node names when it is asked for a branch."""

import pytest

from banyan.node.daemon.composing import compose
from banyan.node.daemon.control import BadRequest, ComposeRequest
from banyan.simulations.world import World, fast_preset


@pytest.mark.parametrize(
    ("branch", "complaint"),
    [
        ("/de", "does not follow /de.*`banyan clone /de`"),
        ("/fr", "no branch /fr, as far as this node knows.*`banyan branch create /fr`"),
        ("fr", "no branch fr, as far as this node knows[^`]*$"),
    ],
)
async def test_a_branch_that_this_node_holds_nothing_of_is_named_with_the_way_to_it(branch, complaint):
    world = World(1, {"/": 2, "/de": 2, "/en": 2}, fast_preset(rule="mean", f=0, min_updates=2))
    world.start()
    reader = next(device for device in world.devices.values() if device.settings.branch == "/en")
    assert world.run(until=lambda: reader.peer is not None)
    with pytest.raises(BadRequest, match=complaint):
        await compose(ComposeRequest(branch=branch), reader.peer, None)
