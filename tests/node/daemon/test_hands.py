"""A blob that is to be looked through is answered once, by what is in it, or by why it did not come."""

import trio
import trio.testing

from banyan.node.daemon.hands import NodeHands
from banyan.protocol.effects import BlobFetched, FetchBlob, Inspect


class Transfers:
    def __init__(self, failure=None):
        self.failure = failure

    async def fetch(self, digest, size, sources):
        await trio.lowlevel.checkpoint()
        return self.failure


class Queue:
    def __init__(self):
        self.jobs = []

    def start(self, job):
        self.jobs.append(job)


async def performed(wish, failure=None):
    """What is queued and what the core hears once a transfer has ended."""
    queue, heard = Queue(), []

    async def deliver(event):
        heard.append(event)

    hands = NodeHands(None, Transfers(failure), queue, deliver)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hands.run)
        hands.fetch(wish)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return queue.jobs, heard


BLOB = b"b" * 32
LOOK = Inspect(BLOB, "/", 1)


async def test_what_came_is_looked_through_next():
    assert await performed(FetchBlob(BLOB, 10, ("p",), LOOK)) == ([LOOK], [])


async def test_what_did_not_come_is_told_at_once():
    heard = [BlobFetched(BLOB, "nobody has it")]
    assert await performed(FetchBlob(BLOB, 10, ("p",), LOOK), "nobody has it") == ([], heard)


async def test_a_blob_of_which_nothing_more_is_wanted_is_there():
    assert await performed(FetchBlob(BLOB, 10, ("p",))) == ([], [BlobFetched(BLOB)])
