"""What a node gives others: what is not kept back, and no faster than its owner allows."""

import hashlib
import random

import pytest
import trio

from banyan.node.network.errors import BlobUnavailable
from banyan.node.network.limits import NetworkLimits
from banyan.node.network.memory import MemoryBlobs
from banyan.node.network.sharing import SharedBlobs


def test_what_is_kept_back_looks_as_if_it_were_not_here():
    kept = set()
    blobs = MemoryBlobs(b"one", b"two")
    shared = SharedBlobs(blobs, lambda: kept)
    one = hashlib.sha256(b"one").digest()
    assert shared.open(one).read(0, 3) == b"one"
    kept.add(one)
    assert shared.open(one) is None
    assert shared.open(hashlib.sha256(b"two").digest()) is not None


@pytest.mark.network
async def test_the_uplink_is_shared_by_all_who_fetch(loopback):
    blob = random.Random(0).randbytes(3_000_000)
    digest = hashlib.sha256(blob).digest()
    slow = NetworkLimits(upload_bytes_per_second=2_000_000)
    async with (
        loopback.Node(1, limits=slow).run() as giver,
        loopback.Node(2).run() as one,
        loopback.Node(3).run() as two,
    ):
        giver.blobs.add(blob)
        for node in (one, two):
            await node.transport.dial(giver.transport.addresses())
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for node in (one, two):
                nursery.start_soon(
                    node.transport.fetch, digest, len(blob), [giver.id], node.blobs.sink(digest, len(blob))
                )
        # 6 MB at 2 MB/s, of which one second's worth passes at once: never in less than two seconds
        assert trio.current_time() - began >= 1.9
        assert digest in one.blobs and digest in two.blobs
        with pytest.raises(BlobUnavailable):
            await one.transport.fetch(b"x" * 32, 5, [giver.id], one.blobs.sink(b"x" * 32, 5))
