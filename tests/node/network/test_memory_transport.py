"""The transport in memory keeps the promises of the interface."""

import pytest

from banyan.node.network.errors import BlobUnavailable, DeliveryFailed, PeerUnreachable, RefusedByPeer
from banyan.node.network.limits import NetworkLimits
from banyan.node.network.memory import MemoryBlobs, MemoryNetwork
from banyan.node.network.transport import MessageArrived, PeerDown, PeerUp


async def test_dialled_peers_see_each_other_and_their_messages_in_order():
    world = MemoryNetwork()
    a, b = world.transport("a"), world.transport("b")
    async with a.run(), b.run():
        assert await a.dial(b.addresses()) == "b"
        await a.send("b", b"one")
        await a.send("b", b"two")
        assert [await b.arrivals.receive() for _ in range(3)] == [
            PeerUp("a"),
            MessageArrived("a", b"one"),
            MessageArrived("a", b"two"),
        ]
        assert a.peers() == ("b",)
        assert a.traffic()["b"].sent == b.traffic()["a"].received == 6


async def test_a_cut_link_ends_the_connection_and_heals():
    world = MemoryNetwork()
    a, b = world.transport("a"), world.transport("b")
    async with a.run(), b.run():
        await a.dial(b.addresses())
        await world.cut("a", "b")
        assert [await b.arrivals.receive() for _ in range(2)] == [PeerUp("a"), PeerDown("a")]
        with pytest.raises(PeerUnreachable):
            await a.send("b", b"lost")
        world.heal("a", "b")
        await a.send("b", b"heard")
        assert b.peers() == ("a",)


async def test_a_peer_of_another_network_is_refused():
    world = MemoryNetwork()
    a, b = world.transport("a", network=b"1"), world.transport("b", network=b"2")
    async with a.run(), b.run():
        with pytest.raises(RefusedByPeer) as caught:
            await a.dial(b.addresses())
        assert caught.value.reason == "wrong-network"
        assert b.refusals() == {"wrong-network": 1}


async def test_a_full_inbox_answers_busy():
    world = MemoryNetwork()
    a, b = world.transport("a"), world.transport("b", limits=NetworkLimits(inbox=2))
    async with a.run(), b.run():
        await a.dial(b.addresses())
        await a.send("b", b"1")
        with pytest.raises(RefusedByPeer, match="room"):
            await a.send("b", b"2")
        await b.arrivals.receive()
        assert await a.send("b", b"2", b"3") == 1


async def test_a_false_blob_names_the_liar_and_the_next_source_is_asked():
    world = MemoryNetwork()
    honest, lying, mine = MemoryBlobs(), MemoryBlobs(), MemoryBlobs()
    digest = honest.add(b"x" * 5000)
    lying.add(b"y" * 5000, digest)
    a, b, c = (world.transport(n, blobs=s) for n, s in (("a", mine), ("b", lying), ("c", honest)))
    async with a.run(), b.run(), c.run():
        report = await a.fetch(digest, 5000, ["b", "c"], mine.sink(digest, 5000))
        assert report.liars == ("b",)
        assert mine[digest] == honest[digest]
        with pytest.raises(BlobUnavailable):
            await a.fetch(b"?" * 32, 5, ["b", "c"], mine.sink(b"?" * 32, 5))


async def test_a_stopped_peer_is_reported_down_to_the_others():
    world = MemoryNetwork()
    a, b = world.transport("a"), world.transport("b")
    async with a.run():
        async with b.run():
            await b.dial(a.addresses())
        assert [await a.arrivals.receive() for _ in range(2)] == [PeerUp("b"), PeerDown("b")]
        with pytest.raises((DeliveryFailed, PeerUnreachable)):
            await a.send("b", b"?")
        assert [arrival async for arrival in b.arrivals] == [PeerUp("a"), PeerDown("a")]
