"""The event stream goes on where it broke off, is bounded, and lets nobody break out of a frame."""

import contextlib
import json

import httpx
import pytest
import trio

from banyan.node.page import application, stream


def frames(data):
    """The frames of a stream's text, as a browser reads them."""
    for block in data.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            yield fields


async def read(node, after, number):
    """The first ``number`` frames past the opening one."""
    found = []
    source = stream.events(node, after)
    try:
        with trio.fail_after(5):
            async for data in source:
                found += [each for each in frames(data) if "retry" not in each]
                if len(found) >= number:
                    return found
    finally:
        await source.aclose()
    return found


async def test_it_begins_with_what_was_and_goes_on_with_what_comes(node):
    node.release(6)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(later, node)
        found = await read(node, None, 2)
    assert [json.loads(each["data"])["height"] for each in found] == [6, 7]
    assert [each["id"] for each in found] == ["1", "2"]


async def later(node):
    await trio.testing.wait_all_tasks_blocked()
    node.release(7)


async def test_it_goes_on_past_the_last_event_that_was_seen(node):
    for height in range(5):
        node.release(height)
    assert [each["id"] for each in await read(node, 3, 2)] == ["4", "5"]


async def test_who_missed_too_much_is_told_so_and_gets_the_newest(node):
    for height in range(stream.MISSED + 2):
        node.release(height)
    found = await read(node, 1, 2)
    assert found[0] == {"event": "gap", "data": "{}"}


async def test_a_place_that_this_log_never_reached_begins_anew(node):
    node.release(1)
    assert [each["id"] for each in await read(node, 900, 1)] == ["1"]


async def test_a_peers_words_cannot_end_a_frame(node):
    node.leave_out("far\n\nevent: gap\ndata: {}\n\n\u2028")
    (found,) = await read(node, None, 1)
    assert json.loads(found["data"])["detail"].startswith("far\n\nevent: gap")


async def test_while_nothing_happens_it_gives_signs_of_life(node, autojump_clock):
    source, began = stream.events(node, None), trio.current_time()
    assert [await anext(source), await anext(source)] == [b"retry: 2000\n\n", b": still here\n\n"]
    assert trio.current_time() - began == pytest.approx(stream.PULSE)
    await source.aclose()


async def test_it_ends_with_the_node(node):
    from banyan.node.daemon.events import NodeStopping

    node.log.emit(NodeStopping("asked to"))
    assert [each["id"] for each in await read(node, None, 9)] == ["1"]


def test_more_streams_than_a_few_tabs_need_are_refused_until_one_ends(served):
    address, ticket = served.link().split("#ticket=")
    with (
        httpx.Client(base_url=address, headers={"origin": address.rstrip("/")}) as client,
        contextlib.ExitStack() as tabs,
    ):
        assert client.post("/session", json={"ticket": ticket}).status_code == 200
        opened = [tabs.enter_context(client.stream("GET", "/api/stream")) for _ in range(application.STREAMS)]
        reading = [tab.iter_raw() for tab in opened]
        assert {next(each) for each in reading} == {b"retry: 2000\n\n"}
        assert client.get("/api/stream").status_code == 503
        opened[0].close()
        for _ in range(100):  # the node notices in its own time
            with client.stream("GET", "/api/stream") as again:
                if again.status_code == 200:
                    break
        assert again.status_code == 200
