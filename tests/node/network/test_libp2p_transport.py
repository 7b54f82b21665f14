"""Real nodes on loopback: they find, hear and help each other, and put up with broken and hostile ones."""

import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from banyan.node.network import multistream
from banyan.node.network.errors import (
    BlobUnavailable,
    ConnectionLost,
    DeliveryFailed,
    PeerUnreachable,
    PortInUse,
    RefusedByPeer,
)
from banyan.node.network.frames import BLOB_PROTOCOL, HELLO_PROTOCOL, MESSAGE_PROTOCOL
from banyan.node.network.limits import NetworkLimits
from banyan.node.network.streams import BufferedStream
from banyan.node.network.transport import MessageArrived, PeerDown, PeerUp
from banyan.security.errors import BanyanError

pytestmark = pytest.mark.network


# ------------------------------------------------------------------------------- connections and messages


async def test_two_nodes_connect_and_exchange_messages_both_ways(loopback):
    async with loopback.Node(1).run() as a, loopback.Node(2).run() as b:
        assert await a.transport.dial(b.transport.addresses()) == b.id
        await a.transport.send(b.id, b"there")
        await b.transport.send(a.id, b"and back")
        await a.until(lambda: a.messages == [MessageArrived(b.id, b"and back")])
        await b.until(lambda: b.messages == [MessageArrived(a.id, b"there")])
        assert a.links == [PeerUp(b.id)]
        assert b.links == [PeerUp(a.id)]
        assert a.transport.peers() == (b.id,)
        assert a.transport.traffic()[b.id].sent == b.transport.traffic()[a.id].received > 0
        assert a.transport.refusals() == b.transport.refusals() == {}


async def test_messages_up_to_the_limit_arrive_and_longer_ones_are_refused_before_they_leave(loopback):
    async with loopback.Node(1).run() as a, loopback.Node(2).run() as b:
        await a.transport.dial(b.transport.addresses())
        await a.transport.send(b.id, b"x" * 65536)
        await b.until(lambda: len(b.messages) == 1)
        with pytest.raises(RefusedByPeer) as caught:
            await a.transport.send(b.id, b"x" * 65537)
        assert caught.value.reason == "too-long"


async def test_many_messages_at_once_all_arrive(loopback):
    async with loopback.Node(1).run() as a, loopback.Node(2).run() as b:
        await a.transport.dial(b.transport.addresses())
        sent = {i.to_bytes(4, "big") for i in range(200)}
        async with trio.open_nursery() as nursery:
            for data in sent:
                nursery.start_soon(a.transport.send, b.id, data)
        await b.until(lambda: len(b.messages) == 200)
        assert {message.data for message in b.messages} == sent


async def test_messages_sent_together_arrive_in_order_up_to_the_first_that_is_too_long(loopback):
    async with loopback.Node(1).run() as a, loopback.Node(2).run() as b:
        await a.transport.dial(b.transport.addresses())
        sent = [bytes([number]) * 65_536 for number in range(20)]
        assert await a.transport.send(b.id, *sent) == 20
        assert await a.transport.send(b.id, b"one", b"x" * 65_537, b"two") == 1
        await b.until(lambda: len(b.messages) == 21)
        assert [message.data for message in b.messages] == [*sent, b"one"]
        assert b.transport.refusals() == {}


async def test_a_full_inbox_takes_the_first_of_several_messages_and_none_that_follows(loopback):
    quick = replace(loopback.QUICK, inbox=3, request_timeout=0.6)
    reader = loopback.Node(2, limits=quick)
    async with loopback.Node(1, limits=quick).run() as a, reader.transport.run():
        await a.transport.dial(reader.transport.addresses())
        await trio.testing.wait_all_tasks_blocked(0.05)  # PeerUp takes one place
        assert await a.transport.send(reader.id, *(b"%d" % number for number in range(9))) == 2
        assert reader.transport.refusals() == {"busy": 1}
        assert await reader.transport.arrivals.receive() == PeerUp(a.id)
        assert await a.transport.send(reader.id, b"2") == 1
        heard = [await reader.transport.arrivals.receive() for _ in range(3)]
        assert heard == [MessageArrived(a.id, b"%d" % number) for number in range(3)]


async def test_a_full_inbox_answers_busy_and_empties_again(loopback):
    quick = replace(loopback.QUICK, inbox=1, request_timeout=0.6)
    reader = loopback.Node(2, limits=quick)
    async with loopback.Node(1, limits=quick).run() as a, reader.transport.run():
        await a.transport.dial(reader.transport.addresses())
        await trio.testing.wait_all_tasks_blocked(0.05)  # PeerUp takes the one place
        with pytest.raises(RefusedByPeer) as caught:
            await a.transport.send(reader.id, b"too much")
        assert caught.value.reason == "busy"
        assert reader.transport.refusals() == {"busy": 1}
        assert await reader.transport.arrivals.receive() == PeerUp(a.id)
        await a.transport.send(reader.id, b"room now")
        assert await reader.transport.arrivals.receive() == MessageArrived(a.id, b"room now")


async def test_a_peer_of_another_network_is_refused_counted_and_told(loopback):
    async with loopback.Node(1, network=b"one").run() as a, loopback.Node(2, network=b"two").run() as b:
        with pytest.raises(RefusedByPeer, match="another Banyan network") as caught:
            await a.transport.dial(b.transport.addresses())
        assert caught.value.reason == "wrong-network"
        assert b.transport.refusals() == {"wrong-network": 1}
        assert a.transport.peers() == b.transport.peers() == ()


async def test_an_address_with_another_nodes_id_is_refused(loopback):
    async with loopback.Node(1).run() as a, loopback.Node(2).run() as b:
        (address,) = b.transport.addresses()
        false = address.replace(b.id, loopback.Node(3).id)
        with pytest.raises(PeerUnreachable, match="Another node answered"):
            await a.transport.dial([false])
        assert a.transport.refusals() == {"not-the-peer": 1}


async def test_a_stale_address_beside_a_good_one_costs_a_moment(loopback):
    with trio.socket.socket() as silent:
        await silent.bind(("127.0.0.1", 0))
        silent.listen(1)  # takes connections and never says a word
        async with loopback.Node(1).run() as a, loopback.Node(2).run() as b:
            (good,) = b.transport.addresses()
            stale = good.replace(str(b.port), str(silent.getsockname()[1]))
            with trio.fail_after(2):
                assert await a.transport.dial([stale, good]) == b.id


async def test_nobody_at_an_address_is_reported_with_the_cause_and_a_cure(loopback):
    async with loopback.Node(1).run() as a:
        gone = f"/ip4/127.0.0.1/tcp/1/p2p/{loopback.Node(2).id}"
        with pytest.raises(PeerUnreachable, match=r"port 1: .*refused.*Check that the peer runs"):
            await a.transport.dial([gone])


async def test_an_address_that_is_none_is_passed_over_or_told(loopback):
    async with loopback.Node(1).run() as a, loopback.Node(2).run() as b:
        with pytest.raises(PeerUnreachable, match="'nonsense' is not an address of a node"):
            await a.transport.dial(["nonsense"])
        assert await a.transport.dial(["nonsense", *b.transport.addresses()]) == b.id


async def test_a_port_in_use_is_a_clear_error_and_port_zero_finds_a_free_one(loopback):
    async with loopback.Node(1).run() as a:
        taken = a.port
        assert taken > 0
        with pytest.raises(PortInUse, match=f"Port {taken} .* already in use.*--port {taken + 1}"):
            async with loopback.Node(2, port=taken).transport.run():
                pass


async def test_connections_beyond_the_limit_are_refused_and_told(loopback):
    full = replace(NetworkLimits(), connections=1)
    async with (
        loopback.Node(1, limits=full).run() as a,
        loopback.Node(2).run() as b,
        loopback.Node(3, wanted_peers=0).run() as c,
    ):
        await b.transport.dial(a.transport.addresses())
        with pytest.raises(RefusedByPeer) as caught:
            await c.transport.dial(a.transport.addresses())
        assert caught.value.reason == "connections-full"
        assert a.transport.refusals()["connections-full"] >= 1
        assert a.transport.peers() == (b.id,)


async def test_peers_learn_of_each_other_through_a_third(loopback):
    async with loopback.Node(1).run() as a, loopback.Node(2).run() as b, loopback.Node(3).run() as c:
        await b.transport.dial(a.transport.addresses())
        await c.transport.dial(a.transport.addresses())
        await c.until(lambda: b.id in c.transport.peers() and c.id in b.transport.peers())


async def test_two_hosts_that_are_cut_find_each_other_again(loopback):
    async with loopback.Node(1).run() as a, loopback.Node(2).run() as b:
        await a.transport.dial(b.transport.addresses())
        await b.until(lambda: b.links == [PeerUp(a.id)])
        for connection in b.transport._swarm.links.of(a.id):
            connection.close()
        await a.until(lambda: a.links[-2:] == [PeerDown(b.id), PeerUp(b.id)])
        await a.transport.send(b.id, b"healed")
        await b.until(lambda: MessageArrived(a.id, b"healed") in b.messages)


async def test_a_node_that_restarts_on_its_port_is_found_again(loopback):
    async with loopback.Node(1).run() as a:
        async with loopback.Node(2).run() as b:
            await a.transport.dial(b.transport.addresses())
            port = b.port
        await a.until(lambda: a.links[-1:] == [PeerDown(b.id)])
        async with loopback.Node(2, port=port).run() as again:
            await a.until(lambda: a.links[-1:] == [PeerUp(b.id)])
            await a.transport.send(b.id, b"welcome back")
            await again.until(lambda: again.messages != [])


async def test_a_disconnected_peer_is_not_dialled_again(loopback):
    async with loopback.Node(1).run() as a, loopback.Node(2, wanted_peers=0).run() as b:
        await a.transport.dial(b.transport.addresses())
        b.transport.book.forget(a.id)
        await a.transport.disconnect(b.id)
        await a.until(lambda: a.links[-1:] == [PeerDown(b.id)])
        assert a.transport.book.candidates(b.id) == ()


async def test_a_listener_that_breaks_comes_back_on_the_same_port(loopback):
    reports = []
    node = loopback.Node(1, failed=lambda *report: reports.append(report))
    async with node.run() as a, loopback.Node(2).run() as b:
        a.transport._listener.socket.close()
        await a.until(lambda: reports != [] and a.transport._listener is not None)
        assert reports[0][0] == "listener"
        assert await b.transport.dial(a.transport.addresses()) == a.id


# ------------------------------------------------------------------------------------------ bad company


async def test_a_plaintext_dialler_is_refused_and_counted(loopback):
    async with loopback.Node(1).run() as a:
        tcp = await trio.open_tcp_stream("127.0.0.1", a.port)
        stream = BufferedStream(tcp)
        await stream.send_all(multistream.proposal("/plaintext/2.0.0"))
        with pytest.raises(RefusedByPeer):
            await multistream.confirm(stream, "/plaintext/2.0.0")
        await tcp.aclose()
        await a.until(lambda: a.transport.refusals() == {"unknown-protocol": 1})


async def test_sockets_that_say_nothing_do_not_keep_honest_peers_out(loopback):
    limits = replace(loopback.QUICK, handshakes=16)
    async with loopback.Node(1, limits=limits).run() as a, loopback.Node(2).run() as b:
        idle = [await trio.open_tcp_stream("127.0.0.1", a.port) for _ in range(100)]
        for stream in idle[::2]:
            await stream.send_all(b"\x13/multi")
        with trio.fail_after(1.5):
            await b.transport.dial(a.transport.addresses())
        await a.until(lambda: sum(a.transport.refusals().values()) == 100)
        assert set(a.transport.refusals()) == {"handshakes-full", "handshake-slow"}
        for stream in idle:
            await stream.aclose()


async def test_a_stalled_peer_is_noticed_and_let_go(loopback):
    async with loopback.Node(1, limits=loopback.QUICK).run() as a:
        with sleeping_node() as (process, address):
            peer = await a.transport.dial([address])
            os.kill(process.pid, signal.SIGSTOP)
            await a.until(lambda: a.links[-1:] == [PeerDown(peer)], within=5)
            assert a.transport.refusals()["silent"] == 1
            with pytest.raises((PeerUnreachable, DeliveryFailed)):
                await a.transport.send(peer, b"anybody?")


async def test_a_stream_that_stays_silent_or_dribbles_is_ended(loopback):
    limits = replace(loopback.QUICK, request_timeout=0.3)
    async with loopback.Node(1, limits=limits).run() as a, loopback.Node(2).run() as b:
        await b.transport.dial(a.transport.addresses())
        connection = b.transport._swarm.links.best(a.id)
        for opening in (b"", b"\x13/multi", multistream.proposal(MESSAGE_PROTOCOL) + b"\0\0\0\x09half"):
            stream = connection._muxer.open_stream()
            await stream.send_all(opening)
            with pytest.raises(ConnectionLost):
                await read_to_the_end(stream)
        assert a.transport.refusals() == {"too-slow": 3}
        await b.transport.send(a.id, b"no hard feelings")


async def test_a_message_before_the_hello_is_not_answered(loopback):
    async with loopback.Node(1, limits=loopback.QUICK).run() as a:
        async with loopback.stranger(loopback.Node(2).identity, a) as connection:
            with pytest.raises(ConnectionLost):
                await ask(connection, MESSAGE_PROTOCOL, b"let me in")
        assert a.messages == []
        assert a.transport.refusals()["handshake-slow"] == 1


async def test_an_unknown_protocol_and_a_bad_header_cost_only_their_stream(loopback):
    async with loopback.Node(1).run() as a, loopback.Node(2).run() as b:
        await b.transport.dial(a.transport.addresses())
        connection = b.transport._swarm.links.best(a.id)
        with pytest.raises(RefusedByPeer):
            await ask(connection, "/ipfs/id/1.0.0", b"who are you?")
        for protocol in (HELLO_PROTOCOL, BLOB_PROTOCOL):
            with pytest.raises(ConnectionLost):
                await ask(connection, protocol, b"\xc1not msgpack")
        await a.until(lambda: a.transport.refusals() == {"unknown-protocol": 1, "malformed": 2})
        await b.transport.send(a.id, b"still friends")


async def test_a_greedy_sender_is_slowed_to_its_rate(loopback):
    slow = replace(NetworkLimits(), bytes_per_second_per_peer=200_000)
    async with loopback.Node(1, limits=slow).run() as a, loopback.Node(2).run() as b:
        await b.transport.dial(a.transport.addresses())
        started = trio.current_time()
        for _ in range(8):
            await b.transport.send(a.id, b"x" * 50_000)
        assert trio.current_time() - started >= 0.8  # 400 kB, of which one second's worth passes at once


# -------------------------------------------------------------------------------------------------- blobs


async def test_a_blob_comes_from_several_peers_at_once(loopback):
    limits = NetworkLimits(chunk_bytes=64 * 1024)
    async with (
        loopback.Node(1, limits=limits).run() as a,
        loopback.Node(2).run() as b,
        loopback.Node(3).run() as c,
    ):
        blob = random.Random(1).randbytes(4_000_000)
        digest = b.blobs.add(blob)
        c.blobs.add(blob)
        for other in (b, c):
            await a.transport.dial(other.transport.addresses())
        report = await a.fetch(digest, len(blob), [b, c])
        assert a.blobs[digest] == blob
        assert set(report.received) == {b.id, c.id}
        assert sum(report.received.values()) == len(blob)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537])
async def test_blobs_of_odd_sizes_arrive(loopback, size):
    limits = NetworkLimits(chunk_bytes=64 * 1024)
    async with loopback.Node(1, limits=limits).run() as a, loopback.Node(2).run() as b:
        digest = b.blobs.add(b"z" * size)
        await a.transport.dial(b.transport.addresses())
        await a.fetch(digest, size, [b])
        assert a.blobs[digest] == b"z" * size


async def test_a_liar_among_the_sources_is_named_and_the_blob_still_comes_true(loopback):
    limits = NetworkLimits(chunk_bytes=64 * 1024)
    async with (
        loopback.Node(1, limits=limits).run() as a,
        loopback.Node(2).run() as honest,
        loopback.Node(3).run() as lying,
    ):
        blob = random.Random(2).randbytes(2_000_000)
        digest = honest.blobs.add(blob)
        lying.blobs.add(blob[:-1] + b"!" if blob[-1:] != b"!" else blob[:-1] + b"?", digest)
        lying.blobs.add(bytes(len(blob)), digest)
        for other in (lying, honest):
            await a.transport.dial(other.transport.addresses())
        report = await a.fetch(digest, len(blob), [lying, honest])
        assert a.blobs[digest] == blob
        assert report.liars == (lying.id,)
        assert a.transport.refusals() == {"blob-false": 1}


async def test_a_lone_liar_is_named_in_the_error(loopback):
    async with loopback.Node(1).run() as a, loopback.Node(2).run() as lying:
        lying.blobs.add(b"false" * 1000, b"?" * 32)
        await a.transport.dial(lying.transport.addresses())
        with pytest.raises(BlobUnavailable, match="sent false bytes") as caught:
            await a.fetch(b"?" * 32, 5000, [lying])
        assert caught.value.liars == (lying.id,)


async def test_a_blob_nobody_has_is_reported_with_what_each_peer_said(loopback):
    async with loopback.Node(1).run() as a, loopback.Node(2).run() as b:
        await a.transport.dial(b.transport.addresses())
        with pytest.raises(BlobUnavailable, match=f"{b.id}: it answered unknown-blob"):
            await a.fetch(b"?" * 32, 10, [b, loopback.Node(3)])


async def test_a_blob_of_another_size_than_announced_is_refused(loopback):
    async with loopback.Node(1).run() as a, loopback.Node(2).run() as b:
        digest = b.blobs.add(b"x" * 1000)
        await a.transport.dial(b.transport.addresses())
        with pytest.raises(BlobUnavailable, match="1000 bytes instead of 900"):
            await a.fetch(digest, 900, [b])
        assert a.transport.refusals() == {"blob-wrong-size": 1}


async def test_a_source_killed_in_mid_transfer_is_replaced_by_another(loopback):
    limits = replace(loopback.QUICK, chunk_bytes=64 * 1024)
    blob = random.Random(7).randbytes(8_000_000)
    async with loopback.Node(1, limits=limits).run() as a, loopback.Node(2).run() as b:
        with sleeping_node(blob_seed=7, blob_size=len(blob)) as (process, address):
            digest = b.blobs.add(blob)
            victim = await a.transport.dial([address])
            await a.transport.dial(b.transport.addresses())
            sink = ActingSink(a.blobs.sink(digest, len(blob)), 2_000_000, None, process.kill)
            report = await a.transport.fetch(digest, len(blob), [victim, b.id], sink)
        assert a.blobs[digest] == blob
        assert sink.acted
        assert report.received[b.id] > 0
        assert report.liars == ()


async def test_a_transfer_goes_on_after_its_only_connection_was_cut(loopback):
    limits = replace(loopback.QUICK, chunk_bytes=64 * 1024)
    blob = random.Random(3).randbytes(8_000_000)
    async with loopback.Node(1, limits=limits).run() as a, loopback.Node(2).run() as b:
        digest = b.blobs.add(blob)
        await a.transport.dial(b.transport.addresses())

        def cut():
            for connection in b.transport._swarm.links.of(a.id):
                connection.close()

        sink = ActingSink(a.blobs.sink(digest, len(blob)), 3_000_000, trio.lowlevel.current_trio_token(), cut)
        report = await a.transport.fetch(digest, len(blob), [b.id], sink)
        assert sink.acted
        assert report.received == {b.id: len(blob)}
        assert a.blobs[digest] == blob


async def test_a_source_that_stalls_in_mid_transfer_is_passed_over(loopback):
    limits = replace(loopback.QUICK, chunk_bytes=64 * 1024)
    blob = random.Random(7).randbytes(4_000_000)
    async with loopback.Node(1, limits=limits).run() as a, loopback.Node(2).run() as b:
        with sleeping_node(blob_seed=7, blob_size=len(blob)) as (process, address):
            digest = b.blobs.add(blob)
            victim = await a.transport.dial([address])
            await a.transport.dial(b.transport.addresses())
            stop = partial(process.send_signal, signal.SIGSTOP)
            sink = ActingSink(a.blobs.sink(digest, len(blob)), 500_000, None, stop)
            with trio.fail_after(10):
                await a.transport.fetch(digest, len(blob), [victim, b.id], sink)
        assert a.blobs[digest] == blob


async def test_a_disk_that_fails_ends_the_transfer_and_blames_nobody(loopback):
    async with loopback.Node(1).run() as a, loopback.Node(2).run() as b:
        digest = b.blobs.add(b"x" * 100_000)
        await a.transport.dial(b.transport.addresses())
        for error, expected in ((OSError(28, "No space left on device"), BlobUnavailable), (Full(), Full)):
            sink = a.blobs.sink(digest, 100_000)
            sink.write_at = raising(error)
            with pytest.raises(expected, match="No space left"):
                await a.transport.fetch(digest, 100_000, [b.id], sink)
            assert sink.aborted


async def test_a_cancelled_fetch_leaves_the_connection_usable(loopback):
    async with loopback.Node(1).run() as a, loopback.Node(2).run() as b:
        blob = random.Random(9).randbytes(20_000_000)
        digest = b.blobs.add(blob)
        await a.transport.dial(b.transport.addresses())
        for delay in (0.001, 0.01, 0.03, 0.1):
            with trio.move_on_after(delay):
                await a.fetch(digest, len(blob), [b])
        await a.fetch(digest, len(blob), [b])
        await a.transport.send(b.id, b"all well")
        assert a.links == [PeerUp(b.id)]
        assert a.transport.refusals() == b.transport.refusals() == {}


class Full(BanyanError):
    """What a store of its own kind raises."""

    def __init__(self):
        super().__init__("No space left on the device")


def raising(error):
    def fail(*_):
        raise error

    return fail


class ActingSink:
    """A sink that does something once ``after`` bytes have arrived: in its thread, or in trio by ``token``."""

    def __init__(self, sink, after, token, act):
        self._sink, self._after, self._token, self._act = sink, after, token, act
        self.acted = False
        self.present, self.finish, self.abort = sink.present, sink.finish, sink.abort

    def write_at(self, offset, data):
        self._sink.write_at(offset, data)
        self._after -= len(data)
        if self._after <= 0 and not self.acted:
            self.acted = True
            if self._token is None:
                self._act()
            else:
                self._token.run_sync_soon(self._act)


# -------------------------------------------------------------------------------------------- scaffolding

SLEEPING_NODE = """
import random, sys, trio
from banyan.node.network.libp2p_host import Libp2pTransport
from banyan.node.network.memory import MemoryBlobs
from banyan.security.identity import Identity

async def main(network, blob_seed, blob_size):
    blobs = MemoryBlobs(random.Random(blob_seed).randbytes(blob_size))
    node = Libp2pTransport(Identity.generate(), network.encode(), blobs=blobs, host="127.0.0.1")
    async with node.run():
        print(node.addresses()[0], flush=True)
        async for _ in node.arrivals:
            pass

trio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""


class sleeping_node:
    """A node in a process of its own, to be stopped or killed."""

    def __init__(self, blob_seed=0, blob_size=1):
        self.arguments = ["the test network", str(blob_seed), str(blob_size)]

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SLEEPING_NODE, *self.arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )
        return self.process, self.process.stdout.readline().strip()

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


async def read_to_the_end(stream):
    with trio.fail_after(5):
        while await stream.receive_some(1000):
            pass


async def ask(connection, protocol, request):
    with trio.fail_after(5):
        async with connection.exchange(protocol) as frames:
            await frames.send(request)
            return await frames.receive(1000)
