"""Addresses have one spelling; the address book is bounded and keeps what is worth keeping."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.node.network import address_book
from banyan.node.network.address_book import FIRST_DELAY, LAST_DELAY, AddressBook
from banyan.node.network.addresses import Address, BadAddress, at
from banyan.security.identity import Identity


def node(seed):
    return Identity.from_seed(random.Random(seed).randbytes(32)).node_id


OWN, PEER, OTHER = node(0), node(1), node(2)


def address(peer=PEER, port=4001, host="192.0.2.7"):
    return f"/ip4/{host}/tcp/{port}/p2p/{peer}"


@pytest.mark.parametrize(
    "host", ["ip4/192.0.2.7", "ip6/2001:db8::1", "dns/node.example.org", "dns4/a-b.example", "dns6/x"]
)
def test_an_address_is_read_and_written_alike(host):
    text = f"/{host}/tcp/4001/p2p/{PEER}"
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "form"),
        ("192.0.2.7:4001", "form"),
        (f"/ip4/192.0.2.7/udp/4001/p2p/{PEER}", "form"),
        (f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}/p2p-circuit", "form"),
        ("/ip4/192.0.2.7/tcp/4001/p2p/nobody", "node id"),
        (f"/ip4/192.0.2.7/tcp/0/p2p/{PEER}", "port"),
        (f"/ip4/192.0.2.7/tcp/65536/p2p/{PEER}", "port"),
        (f"/ip4/192.0.2.7/tcp/0400/p2p/{PEER}", "port"),
        (f"/ip4/192.0.2.7/tcp/٤٠٠١/p2p/{PEER}", "port"),
        (f"/ip4/192.0.2.300/tcp/1/p2p/{PEER}", "IP address"),
        (f"/ip4/2001:db8::1/tcp/1/p2p/{PEER}", "IP address"),
        (f"/ip6/2001:0db8::1/tcp/1/p2p/{PEER}", "in short"),
        (f"/ip4/0.0.0.0/tcp/1/p2p/{PEER}", "one machine"),
        (f"/ip4/224.0.0.251/tcp/1/p2p/{PEER}", "one machine"),
        (f"/dns/-bad-/tcp/1/p2p/{PEER}", "name"),
        (f"/dns/UPPER.example/tcp/1/p2p/{PEER}", "name"),
        (f"/unix/socket/tcp/1/p2p/{PEER}", "name"),
        ("/" * 500, "too long"),
    ],
)
def test_anything_else_is_refused_with_what_is_wrong(text, problem):
    with pytest.raises(BadAddress, match=problem):
        Address.parse(text)


@given(st.text(max_size=100))
def test_arbitrary_text_is_refused_and_nothing_worse(text):
    with pytest.raises(BadAddress):
        Address.parse(f"/ip4/{text}/tcp/1/p2p/{PEER}/x")


def test_an_ip_host_becomes_an_address_of_its_kind():
    assert str(at("127.0.0.1", 5, PEER)) == f"/ip4/127.0.0.1/tcp/5/p2p/{PEER}"
    assert str(at("fe80::1%eth0", 5, PEER)) == f"/ip6/fe80::1/tcp/5/p2p/{PEER}"


def test_the_book_gives_the_most_promising_address_first():
    book = AddressBook(OWN)
    book.add([address(port=1), address(port=2), address(port=3)])
    book.reached(PEER, address(port=2), 1000)
    book.failed(PEER, [address(port=1)], 2000)
    assert book.candidates(PEER) == (address(port=2), address(port=3), address(port=1))


def test_a_peer_speaks_only_for_itself_and_nobody_for_us():
    book = AddressBook(OWN)
    book.add([address(), address(OTHER), address(OWN)], only=PEER)
    assert book.candidates(PEER)
    assert not book.candidates(OTHER)
    assert not book.candidates(OWN)


def test_redialling_slows_down_and_starts_over_after_a_success():
    book, now = AddressBook(OWN), 10_000
    book.add([address()], wanted=True)
    assert book.due(now) == [PEER]
    delays = []
    for _ in range(12):
        book.failed(PEER, [address()], now)
        assert book.due(now) == []
        delays.append(book.next_due(without=()) - now)
        now = book.next_due(without=())
        assert book.due(now) == [PEER]
    assert delays[:3] == [2 * FIRST_DELAY, 4 * FIRST_DELAY, 8 * FIRST_DELAY]
    assert delays[-1] == LAST_DELAY
    book.reached(PEER, address(), now)
    assert book.next_due(without=()) == now + FIRST_DELAY
    assert book.next_due(without={PEER}) is None


def test_peers_we_were_told_of_are_strangers_until_reached():
    book = AddressBook(OWN)
    book.add([address()])
    assert (book.due(1), book.strangers(1)) == ([], [PEER])
    book.reached(PEER, None, 1)
    assert (book.due(10_000), book.strangers(10_000)) == ([PEER], [])


def test_invented_peers_displace_nobody_we_know_and_the_book_stays_bounded(monkeypatch):
    monkeypatch.setattr(address_book, "PEERS", 10)
    book = AddressBook(OWN)
    book.add([address()], wanted=True)
    book.add([address(OTHER)])
    book.reached(OTHER, address(OTHER), 5)
    for seed in range(100, 200):
        book.add([address(node(seed))])
    assert len(book) == 10
    assert book.candidates(PEER)
    assert book.candidates(OTHER)
    for seed in range(200, 300):  # whoever connects is worth more than whoever was named to us by others
        book.reached(node(seed), None, seed)
    assert len(book) == 10
    assert book.candidates(PEER)  # but not more than whom the owner named


def test_a_peer_has_few_addresses_and_the_working_one_stays():
    book = AddressBook(OWN)
    book.add([address(port=1)])
    book.reached(PEER, address(port=1), 5)
    book.add([address(port=port) for port in range(2, 50)])
    assert len(book.candidates(PEER)) == address_book.ADDRESSES_PER_PEER
    assert book.candidates(PEER)[0] == address(port=1)


def test_what_is_exported_comes_back_and_rubbish_is_left_out():
    book = AddressBook(OWN)
    book.add([address()], wanted=True)
    book.reached(PEER, address(), 77)
    book.add([address(OTHER)])
    plain = book.export()
    assert plain == {PEER: {address(): 77}}
    again = AddressBook(OWN)
    again.restore(
        {**plain, OTHER: {"nonsense": 1, 5: 5, address(PEER, port=9): 1}, "x": "y", "z": {"a": None}}
    )
    assert again.export() == plain
    assert [peer.peer for peer in again.recent(5, without=OTHER)] == [PEER]
    assert again.recent(5, without=PEER) == []
