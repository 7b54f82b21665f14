"""A whole daemon's page: closed until its owner asks for it, then open to who has the link, and gone with the node."""

import json

import httpx
import pytest
import trio

from banyan.node.cli.main import run


async def test_the_page_opens_by_the_command_shows_the_node_and_ends_with_it(garden, tmp_path, capsys):
    async with garden.running(0) as (daemon,):
        assert await trio.to_thread.run_sync(run, ["page", "--json", "--home", str(tmp_path / "node0")]) == 0
        url = json.loads(capsys.readouterr().out)["url"]
        address, ticket = url.split("#ticket=")
        async with httpx.AsyncClient(base_url=address, headers={"origin": address.rstrip("/")}) as client:
            assert (await client.get("/api/status")).status_code == 401
            assert (await client.post("/session", json={"ticket": ticket})).status_code == 200
            assert (await client.get("/api/status")).json()["node"] == daemon.identity.node_id
            assert (await client.get("/api/shelf")).json()["listings"] == []
            async with client.stream("GET", "/api/stream") as answer:
                async for line in answer.aiter_lines():
                    if '"event":"node-started"' in line:
                        daemon.stop("asked to")
                    if '"event":"node-stopping"' in line:
                        break
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)
    assert ticket not in garden.home(0).database.read_bytes().decode("latin-1")


async def test_a_port_that_is_taken_is_named_with_what_to_do(garden, tmp_path, capsys):
    taken = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = taken[0].socket.getsockname()[1]
    try:
        async with garden.running(0, page__port=port):
            assert await trio.to_thread.run_sync(run, ["page", "--home", str(tmp_path / "node0")]) == 1
    finally:
        await taken[0].aclose()
    said = capsys.readouterr().err
    assert f"Port {port} of this machine is taken" in said
    assert "page.port=0" in said


def test_without_a_node_the_command_says_how_to_start_one(tmp_path, capsys):
    assert run(["page", "--home", str(tmp_path)]) == 1
    assert "banyan up" in capsys.readouterr().err
