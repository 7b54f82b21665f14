"""Multicast DNS: what is announced on the local network is a hint, and nothing needs it."""

import random
from types import SimpleNamespace

import pytest
import trio

from banyan.node.network import mdns
from banyan.node.network.addresses import Address
from banyan.security.identity import Identity

PEER = Identity.from_seed(random.Random(5).randbytes(32)).node_id


def record(**changes):
    fields = {
        "properties": {b"id": PEER.encode(), b"network": b"abcd"},
        "port": 4001,
        "parsed_addresses": lambda: ["192.168.1.7", "fe80::1", "0.0.0.0", "junk"],
    }
    return SimpleNamespace(**{**fields, **changes})


def test_a_record_of_our_network_gives_its_sensible_addresses():
    assert mdns.addresses_of(record(), "abcd") == [
        f"/ip4/192.168.1.7/tcp/4001/p2p/{PEER}",
        f"/ip6/fe80::1/tcp/4001/p2p/{PEER}",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"properties": {b"id": PEER.encode(), b"network": b"other"}},
        {"properties": {b"network": b"abcd"}},
        {"properties": {b"id": b"\xff\xfe", b"network": b"abcd"}},
        {"properties": None},
        {"port": 0},
    ],
)
def test_any_other_record_gives_none(changes):
    assert mdns.addresses_of(record(**changes), "abcd") == []


@pytest.mark.network
async def test_a_node_runs_whether_or_not_there_is_multicast():
    own = [Address("ip4", "127.0.0.1", 4001, PEER)]
    with trio.move_on_after(2):
        await mdns.discover(own, b"network", lambda addresses: None)


@pytest.mark.network
async def test_nodes_of_one_network_find_each_other_and_leave_others_alone(loopback):
    settings = {"host": "0.0.0.0", "local_discovery": True}
    async with (
        loopback.Node(1, **settings).run() as a,
        loopback.Node(2, **settings).run() as b,
        loopback.Node(3, network=b"another network", **settings).run() as c,
    ):
        try:
            await a.until(lambda: a.transport.peers() == (b.id,), within=8)
        except trio.TooSlowError:
            pytest.skip("multicast does not reach this machine itself")
        assert c.transport.peers() == ()
        assert c.transport.refusals() == a.transport.refusals() == {}


async def test_no_multicast_is_no_failure(monkeypatch):
    import zeroconf

    def refuse(**_):
        raise OSError(19, "No such device")

    monkeypatch.setattr(zeroconf, "Zeroconf", refuse)
    with trio.fail_after(5):
        await mdns.discover([Address("ip4", "127.0.0.1", 4001, PEER)], b"n", lambda addresses: None)
