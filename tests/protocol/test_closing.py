"""What a leader proposes when it is time to close a round."""

from __future__ import annotations

from dataclasses import replace

from banyan.protocol.closing import Closing
from banyan.protocol.messages import CertifiedRelease
from banyan.protocol.plateau import is_restated
from banyan.protocol.round import Round
from banyan.simulations.world import World, fast_preset


def test_a_branch_whose_seats_have_all_been_silent_for_too_long_still_says_how_it_stands() -> None:
    world = World(5, {"/": 6}, fast_preset(), fast_signatures=True)
    world.start()
    device = next(iter(world.devices.values()))
    assert world.run(until=lambda: device.peer is not None and device.peer.branches["/"].on_committee)
    peer = device.peer
    assert peer is not None
    branch = peer.branches["/"]
    assert branch.round is not None and branch.trials is not None
    long_after = replace(branch.round.base, height=10 * peer.charter.committee.memory)
    certified: list[CertifiedRelease] = []
    closing = Closing(
        peer,
        Round(long_after, branch.need, branch.transfer, peer.charter.round.deadline),
        (peer.me,),
        branch.trials,
        lambda digest: None,
        certified.append,
        lambda time: (0, "asks"),
    )
    assert closing.draft().roster == ()
    closing.begin()
    (made,) = certified
    assert is_restated(made.release)
    assert made.release.standing == "asks"
    assert made.release.roster == long_after.roster
