"""What a core makes of its own past: restarts in a tree, on another branch, in the middle of a round."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from banyan.protocol.effects import PutRecord, Started
from banyan.protocol.messages import Proposal, Vote, body_of, read_body
from banyan.protocol.peer import Peer
from banyan.protocol.records import committee_topic
from banyan.security.envelope import seal
from banyan.simulations.device import Device
from banyan.simulations.world import World, fast_preset


@pytest.fixture(scope="module")
def tree() -> tuple[World, list[Device]]:
    """A tree of two levels in which the child has been counted by its parent; the devices of the parent."""
    world = World(4, {"/": 5, "/en": 5}, fast_preset(f=1))
    world.start()
    assert world.run(until=lambda: world.agreed("/", 4) and world.agreed("/en", 4))
    return world, [device for device in world.devices.values() if device.settings.branch == "/"]


def woken(device: Device, branch: str = "/", records: list[bytes] | None = None) -> Peer:
    """A new core for ``device`` from its disk."""
    settings = replace(device.settings, branch=branch)
    peer = Peer(device.world.charter, device.signer, settings, random.Random(1), device.world.verifier)
    peer.restore(list(device.records.values()) if records is None else records, dict(device.state))
    return peer


@pytest.mark.parametrize("order", [1, -1])
def test_a_committee_member_that_follows_a_child_comes_back_whatever_the_order_on_its_disk(
    tree: tuple[World, list[Device]], order: int
) -> None:
    """A child's releases were restored before the parent's release for whose sake the child is followed."""
    world, devices = tree
    for device in devices:
        assert device.peer is not None
        records = sorted(device.records.values(), key=lambda data: order * len(data))
        peer = woken(device, records=records)
        peer.handle(Started(), world.clock.now)
        assert peer.branches["/"].chain.head == device.peer.branches["/"].chain.head
        assert not peer.refusals


def test_what_a_device_said_in_a_round_before_it_lost_its_disk_comes_back_from_the_committee() -> None:
    """It waited for the round to end without it, and said another thing when that took longer."""
    fast = fast_preset()
    policies = replace(
        fast, round=replace(fast.round, deadline=200_000), committee=replace(fast.committee, size=3)
    )
    world = World(3, {"/": 8}, policies, fast_signatures=True)
    world.start()
    assert world.run(until=lambda: world.agreed("/", 1))
    for slow in [*world.devices.values()][:2]:
        slow.train_time = 100_000  # a quorum is there, and the round waits for these

    def is_ready(device: Device) -> bool:
        peer, is_slow = device.peer, device.train_time == 100_000
        assert peer is not None
        update, seated = peer.learner.update, peer.branches["/"].on_committee
        return update is not None and peer.branches["/"].chain.height >= 2 and not seated and not is_slow

    assert world.run(until=lambda: any(map(is_ready, world.devices.values())))
    assert not world.run(until=lambda: False, limit=1_000)  # the committee hears of it
    device = next(filter(is_ready, world.devices.values()))
    assert device.peer is not None and device.peer.learner.update is not None
    said = device.peer.learner.update.id

    device.crash()
    device.lose_disk()
    device.start()
    peer = device.peer
    assert peer.learner.update is None
    assert world.run(until=lambda: peer.learner.update is not None, limit=20_000)
    assert peer.learner.update is not None and peer.learner.update.id == said
    assert said in device.records, "and is on the disk again"
    assert not world.run(until=lambda: bool(peer.quarantined), limit=80_000)
    assert world.run(until=lambda: world.agreed("/", 4))


def test_a_device_that_moves_to_another_branch_leaves_the_old_ones_records_alone(
    tree: tuple[World, list[Device]],
) -> None:
    world, _ = tree
    device = next(d for d in world.devices.values() if d.settings.branch == "/en")
    peer = woken(device, branch="/")
    assert peer.handle(Started(), world.clock.now)
    assert peer.branches["/"].chain.height >= 4


def test_a_locked_member_that_leads_when_it_comes_back_proposes_what_it_is_locked_on() -> None:
    """Its votes were taken up before the proposal that they are about, and the core raised at every start."""
    world = World(6, {"/": 6}, fast_preset())
    world.start()
    locked: list[tuple[Device, Vote]] = []

    def somebody_is_locked() -> bool:
        for device in world.live():
            assert device.peer is not None
            for record in device.peer.records.of(committee_topic("/")):
                body = record.body
                mine = record.envelope.author == device.name and isinstance(body, Vote)
                if mine and body.phase == "precommit" and body.release:
                    locked.append((device, body))
        return bool(locked)

    assert world.run(until=somebody_is_locked)
    device, precommit = locked[0]
    assert device.peer is not None
    committee = device.peer.branches["/"].chain.committee
    view = committee.index(device.name) + len(committee)
    records = list(device.records.values())
    for number in range(20):  # of all the words for the same votes some come before the proposal
        for name in [name for name in committee if name != device.name][:2]:
            ahead = Vote("/", precommit.height, view + len(committee) * number, "prevote", b"", "")
            kind, body = body_of(ahead)
            signer = world.devices[name].signer
            network = world.charter.network_id
            records.append(seal(signer, network=network, kind=kind, seq=number, time=1, body=body).data)
    peer = woken(device, records=records)
    effects = peer.handle(Started(), world.clock.now)
    proposed = [
        read_body(envelope, Proposal)
        for effect in effects
        if isinstance(effect, PutRecord)
        for envelope in [peer.open_envelope(effect.data)]
        if envelope.kind == "proposal"
    ]
    assert {each.release.digest for each in proposed} <= {precommit.release}
    assert proposed
