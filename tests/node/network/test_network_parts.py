"""The small parts: inbox, allowance, dialling race, supervision, strangers, ledger."""

import subprocess
import sys

import pytest
import trio
import trio.testing

from banyan.node.network import ledger as ledger_module
from banyan.node.network.addresses import Address
from banyan.node.network.dialler import HEAD_START, race
from banyan.node.network.errors import NetworkError, PeerUnreachable, RefusedByPeer
from banyan.node.network.inbox import Inbox
from banyan.node.network.ledger import Ledger
from banyan.node.network.listener import Strangers
from banyan.node.network.supervision import supervise
from banyan.node.network.throttle import TokenBucket
from banyan.node.network.transport import MessageArrived, PeerDown, PeerUp
from banyan.security.identity import Identity

PEER = Identity.from_seed(bytes(32)).node_id


# ------------------------------------------------------------------------------------------------- inbox


async def test_a_peer_is_up_before_its_first_message_even_if_the_message_is_quicker(nursery):
    inbox = Inbox(10)
    inbox.link("a", up=True)
    await inbox.message("a", b"1")
    nursery.start_soon(inbox.run)
    await trio.testing.wait_all_tasks_blocked()
    inbox.link("a", up=False)
    await trio.testing.wait_all_tasks_blocked()
    got = [inbox.arrivals.receive_nowait() for _ in range(3)]
    assert got == [PeerUp("a"), MessageArrived("a", b"1"), PeerDown("a")]
    nursery.cancel_scope.cancel()


async def test_a_peer_that_flaps_while_nobody_reads_takes_no_room(nursery):
    inbox = Inbox(1)
    nursery.start_soon(inbox.run)
    for _ in range(1000):
        inbox.link("a", up=True)
        await trio.testing.wait_all_tasks_blocked()
        inbox.link("a", up=False)
        await trio.testing.wait_all_tasks_blocked()
    told = []
    while (waiting := inbox.arrivals.statistics().current_buffer_used) or not told:
        told += [inbox.arrivals.receive_nowait() for _ in range(waiting)]
        await trio.testing.wait_all_tasks_blocked()
    assert told == [PeerUp("a"), PeerDown("a")]
    nursery.cancel_scope.cancel()


async def test_a_message_waits_for_room(nursery):
    inbox = Inbox(1)
    await inbox.message("a", b"1")
    with trio.move_on_after(0) as scope:
        await inbox.message("a", b"2")
    assert scope.cancelled_caught
    assert inbox.arrivals.receive_nowait() == MessageArrived("a", b"1")
    await inbox.message("a", b"3")
    inbox.close()
    assert [arrival.data async for arrival in inbox.arrivals] == [b"3"]


# --------------------------------------------------------------------------------------------- allowance


async def test_one_second_passes_at_once_and_the_rate_holds_in_the_long_run(autojump_clock):
    bucket = TokenBucket(100)
    started = trio.current_time()
    for _ in range(11):
        await bucket.take(100)
    assert trio.current_time() - started == pytest.approx(10)


async def test_what_was_not_used_is_saved_for_a_second_and_no_longer(autojump_clock):
    bucket = TokenBucket(100)
    await trio.sleep(60)
    started = trio.current_time()
    await bucket.take(200)
    assert trio.current_time() - started == pytest.approx(1)


async def test_the_ledger_forgets_the_peers_used_longest_ago(monkeypatch):
    monkeypatch.setattr(ledger_module, "PEERS", 2)
    ledger = Ledger(1.0)
    for peer in ("a", "b", "a", "c"):
        ledger.traffic_of(peer).sent += 1
    assert {peer: t.sent for peer, t in ledger.traffic().items()} == {"a": 2, "c": 1}
    ledger.count("x")
    assert ledger.refusals() == {"x": 1}


# ---------------------------------------------------------------------------------------------- dialling


class Wire:
    """Stands for a connection: only its closing matters here."""

    def __init__(self):
        self.closed_by_us = False

    def close(self):
        self.closed_by_us = True


def places(count):
    return [Address("ip4", "192.0.2.1", port, PEER) for port in range(1, count + 1)]


async def test_the_next_address_starts_when_the_first_has_taken_its_head_start(autojump_clock):
    async def establish(address):
        if address.port == 1:
            await trio.sleep_forever()
        return Wire()

    started = trio.current_time()
    _, address = await race(places(2), establish, 5.0)
    assert address.port == 2
    assert trio.current_time() - started == pytest.approx(HEAD_START)


async def test_every_failure_is_told_with_its_place(autojump_clock):
    async def establish(address):
        match address.port:
            case 1:
                raise ConnectionRefusedError(111, "Connection refused")
            case 2:
                await trio.sleep_forever()
            case 3:
                raise trio.BrokenResourceError
            case _:
                raise NetworkError("no")

    with pytest.raises(PeerUnreachable) as caught:
        await race(places(4), establish, 5.0)
    for part in ("port 1: Connection refused", "port 2: no answer within 5 s", "port 3: what", "port 4: no"):
        assert part in caught.value.what


async def test_a_refusal_says_more_than_a_failure(autojump_clock):
    async def establish(address):
        if address.port == 1:
            raise RefusedByPeer("wrong-network", "another network")
        raise OSError("x")

    with pytest.raises(RefusedByPeer):
        await race(places(2), establish, 5.0)


async def test_no_address_at_all_is_unreachable():
    with pytest.raises(PeerUnreachable, match="no address is known"):
        await race([], None, 1.0)


# ------------------------------------------------------------------------------------------- supervision


async def test_a_failing_service_starts_again_later_and_later_and_a_steady_one_at_once(autojump_clock):
    starts, reports = [], []

    async def service():
        starts.append(trio.current_time())
        if len(starts) == 4:
            await trio.sleep(120)
        if len(starts) < 6:
            raise RuntimeError("again")

    await supervise(service, lambda error, delay: reports.append(delay))
    assert reports == pytest.approx([0.1, 0.2, 0.4, 0.1, 0.2])
    assert len(starts) == 6


async def test_strangers_have_little_time_and_the_oldest_gives_way(autojump_clock):
    counted, ended = [], []
    strangers = Strangers(2, 10.0, counted.append)

    async def dawdle(name):
        with strangers.admit():
            await trio.sleep_forever()
        ended.append((name, trio.current_time() - started))

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(dawdle, name)
            await trio.sleep(1)
        assert len(strangers) == 2
    assert ended == [("a", pytest.approx(2)), ("b", pytest.approx(11)), ("c", pytest.approx(12))]
    assert counted == ["handshakes-full", "handshake-slow", "handshake-slow"]


# ------------------------------------------------------------------------------------------------ weight


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("banyan.node.network", {"trio", "cryptography", "noise", "libp2p"}),
        ("banyan.node.network.transport", {"cryptography", "noise", "libp2p", "torch"}),
        ("banyan.node.network.libp2p_host", {"libp2p", "zeroconf", "numpy", "torch", "aioquic", "multiaddr"}),
    ],
)
def test_importing_costs_only_what_is_needed(module, unwanted):
    code = f"import sys, {module}; print(*sorted({unwanted!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []
