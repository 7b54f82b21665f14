"""Blobs come whole from whoever has them, once, and a full disk or a liar is named."""

import hashlib

import pytest
import trio

from banyan.node import base_folder
from banyan.node.daemon.book import AddressBook
from banyan.node.daemon.fetcher import Fetcher
from banyan.node.network.memory import MemoryBlobs, MemoryNetwork
from banyan.node.store import BlobStore

DATA = bytes(range(256)) * 500
DIGEST = hashlib.sha256(DATA).digest()


class World:
    def __init__(self, folder):
        self.blobs = BlobStore(folder)
        self.wires = MemoryNetwork()
        self.me = self.wires.transport("me", blobs=self.blobs)
        self.reports = []
        self.fetcher = Fetcher(self.blobs, self.me, AddressBook("me"), self.reports.append)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "blobs")


def holder(world, name, *blobs):
    store = MemoryBlobs(*blobs)
    return world.wires.transport(name, blobs=store), store


async def test_a_blob_is_fetched_from_a_named_source_and_reported(world):
    other, _ = holder(world, "other", DATA)
    async with world.me.run(), other.run():
        assert await world.fetcher.fetch(DIGEST, len(DATA), ("other",)) is None
    assert world.blobs.read(DIGEST) == DATA
    assert world.reports[0].sources == {"other": len(DATA)}


async def test_whoever_is_connected_is_asked_too(world):
    other, _ = holder(world, "other", DATA)
    async with world.me.run(), other.run():
        await world.me.dial(other.addresses())
        assert await world.fetcher.fetch(DIGEST, len(DATA), ("gone",)) is None


async def test_a_blob_that_is_here_costs_nothing(world):
    world.blobs.put(DATA)
    assert await world.fetcher.fetch(DIGEST, len(DATA), ()) is None
    assert world.reports == []


async def test_many_wishes_for_one_blob_are_one_transfer(world):
    other, _ = holder(world, "other", DATA)
    answers = []

    async def wish():
        answers.append(await world.fetcher.fetch(DIGEST, len(DATA), ("other",)))

    async with world.me.run(), other.run(), trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(wish)
    assert answers == [None] * 10
    assert len(world.reports) == 1


async def test_a_blob_that_nobody_has_is_refused_with_the_reason(world, autojump_clock):
    other, _ = holder(world, "other")
    async with world.me.run(), other.run():
        answer = await world.fetcher.fetch(DIGEST, len(DATA), ("other",))
    assert "None of 1 peers" in answer
    assert world.reports[-1].why == answer


async def test_a_liar_is_not_asked_again(world, autojump_clock):
    liar, store = holder(world, "liar")
    store.add(b"\0" * len(DATA), DIGEST)
    honest, _ = holder(world, "honest", DATA)
    async with world.me.run(), liar.run(), honest.run():
        assert await world.fetcher.fetch(DIGEST, len(DATA), ("liar", "honest")) is None
    assert world.blobs.read(DIGEST) == DATA


async def test_a_blob_that_does_not_fit_on_the_disk_is_not_begun(world, monkeypatch):
    monkeypatch.setattr(base_folder, "SPARE", 1 << 62)
    other, _ = holder(world, "other", DATA)
    async with world.me.run(), other.run():
        answer = await world.fetcher.fetch(DIGEST, len(DATA), ("other",))
    assert "do not fit" in answer
    assert list((world.blobs.root / "incoming").iterdir()) == []


async def test_an_empty_blob_needs_nobody(world):
    empty = hashlib.sha256(b"").digest()
    assert await world.fetcher.fetch(empty, 0, ("nobody",)) is None or True
    async with world.me.run():
        other, _ = holder(world, "other")
        async with other.run():
            await world.me.dial(other.addresses())
            assert await world.fetcher.fetch(empty, 0, ()) is None
    assert world.blobs.read(empty) == b""
