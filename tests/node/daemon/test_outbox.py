"""A slow, dead or busy peer holds up nobody but itself."""

import trio

from banyan.node.daemon.book import AddressBook
from banyan.node.daemon.outbox import QUEUE, Outbox
from banyan.node.network.errors import PeerUnreachable, RefusedByPeer


class Wire:
    """A transport that notes what it delivers; some peers are dead, slow or busy."""

    def __init__(self, dead=(), slow=(), busy=0, room=None):
        self.dead, self.slow, self.busy, self.room = set(dead), set(slow), busy, room
        self.delivered, self.dialled = [], []

    def peers(self):
        return ()

    async def dial(self, addresses):
        self.dialled.append(addresses)
        if "/dead" in addresses:
            raise PeerUnreachable("nobody there")
        return "x"

    async def send(self, peer, *data):
        await trio.lowlevel.checkpoint()
        if peer in self.dead:
            raise PeerUnreachable("nobody there")
        if peer in self.slow:
            await trio.sleep(100)
        if self.busy:
            self.busy -= 1
            raise RefusedByPeer("busy", "full")
        taken = data[: self.room]
        self.delivered += [(peer, each) for each in taken]
        return len(taken)


async def run(wire, outbox, seconds=10):
    with trio.move_on_after(seconds):
        await outbox.run()


async def test_messages_arrive_in_order_at_each_peer(autojump_clock):
    wire = Wire(slow={"s"})
    outbox = Outbox(wire, AddressBook("me"))
    for number in range(5):
        outbox.put(("a", "s", "b"), b"%d" % number)
    await run(wire, outbox)
    assert [data for peer, data in wire.delivered if peer == "a"] == [b"0", b"1", b"2", b"3", b"4"]
    assert len([1 for peer, _ in wire.delivered if peer == "b"]) == 5


async def test_what_a_peer_had_no_room_for_comes_next_and_in_order(autojump_clock):
    wire = Wire(room=3)
    outbox = Outbox(wire, AddressBook("me"))
    for number in range(10):
        outbox.put(("a",), b"%d" % number)
    await run(wire, outbox)
    assert wire.delivered == [("a", b"%d" % number) for number in range(10)]
    assert outbox.counters == {"sent": 10}


async def test_a_busy_peer_is_asked_again(autojump_clock):
    wire = Wire(busy=3)
    outbox = Outbox(wire, AddressBook("me"))
    outbox.put(("a",), b"x")
    await run(wire, outbox)
    assert wire.delivered == [("a", b"x")]


async def test_what_waits_for_an_unreachable_peer_is_dropped_and_it_is_left_alone_for_a_while(autojump_clock):
    wire = Wire()
    book = AddressBook("me")
    book.heard("a", ["/dead"])
    outbox = Outbox(wire, book)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, wire, outbox, 30)
        for number in range(20):
            outbox.put(("a",), b"%d" % number)
            await trio.sleep(1)
    assert wire.delivered == []
    assert 3 <= len(wire.dialled) <= 6  # after 1, 2, 4, 8 … seconds
    assert outbox.counters["dropped.unreachable"] + outbox.counters["dropped.failed"] == 20


async def test_a_full_queue_drops_its_oldest(autojump_clock):
    wire = Wire()
    outbox = Outbox(wire, AddressBook("me"))
    for number in range(QUEUE + 10):
        outbox.put(("a",), b"%d" % number)
    await run(wire, outbox)
    assert wire.delivered[0] == ("a", b"10")
    assert len(wire.delivered) == QUEUE
