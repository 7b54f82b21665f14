"""A model server beside a whole daemon: it takes up each release as the node does, and goes on without it."""

import json

import numpy as np
import pytest
import torch
import trio
from openai import OpenAI

from banyan.node.cli.main import run
from banyan.node.serving.chosen_release import choose, model_of
from banyan.node.serving.server import ModelServer
from banyan.security.errors import BanyanError


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def height(daemon, branch="/"):
    status = daemon.member.driver.status() if daemon.member is not None else {}
    return status["branches"][branch]["height"] if status else -1


async def ask(server):
    """One answer over HTTP: the fingerprint of the model that gave it."""

    def once():
        with OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
            answer = client.chat.completions.create(
                model=server.chosen.branch, messages=[{"role": "user", "content": "What?"}], max_tokens=3
            )
            return answer.system_fingerprint.removeprefix("fp_")

    return await trio.to_thread.run_sync(once)


async def test_a_server_follows_releases_and_pins_and_goes_on_without_the_node(
    garden, wait_until, fast_clock, tmp_path, capsys
):
    garden.join(1)
    rows, home = str(garden.data), garden.home(0)
    seen = []
    async with trio.open_nursery() as nursery:
        async with garden.running(0, 1, training__data=rows) as (first, _):
            await wait_until(lambda: height(first) >= 1)
            server = ModelServer(home, device="cpu", port=0)
            await trio.to_thread.run_sync(server.open)
            weights = server.engine.base.model_with(np.zeros_like(garden.goal)).peft
            before = {name: p.data_ptr() for name, p in weights.named_parameters() if "lora_B" not in name}
            nursery.start_soon(server.run, seen.append)
            began = server.chosen.parts[-1][1]
            await wait_until(lambda: len(seen) >= 2)
            assert [each.parts[-1][1] for each in seen] == sorted({each.parts[-1][1] for each in seen})
            assert seen[0].parts[-1][1] > began
            assert await ask(server) in {each.fingerprint for each in seen}

            command = ["checkout", "@1", "--home", str(home.root)]
            assert await trio.to_thread.run_sync(run, command) == 0
            await wait_until(lambda: server.chosen.pinned)
            assert server.chosen.parts[-1][1] == 1
            assert await ask(server) == server.chosen.fingerprint
        assert await ask(server) == server.chosen.fingerprint  # the node is gone, the server is not
        after = server.engine.base.model_with(np.zeros_like(garden.goal)).peft
        assert before == {name: p.data_ptr() for name, p in after.named_parameters() if "lora_B" not in name}
        nursery.cancel_scope.cancel()

    alone = await trio.to_thread.run_sync(choose, home)  # from the store
    assert alone == server.chosen
    other = await trio.to_thread.run_sync(lambda: choose(garden.home(1)))
    assert other.parts[-1][1] >= seen[-1].parts[-1][1]
    assert not other.pinned
    assert model_of(garden.home(1), garden.charter.adapter, other)[0].any()
    with pytest.raises(BanyanError, match="has no release 999 here"):
        await trio.to_thread.run_sync(lambda: choose(home, release="@999"))
    capsys.readouterr()
    for form, file in (
        ("peft", "adapter_model.safetensors"),
        ("merged", "model.safetensors"),
        ("gguf", "model.gguf"),
    ):
        line = [
            "export",
            "--to",
            str(tmp_path / "out"),
            "--format",
            form,
            "--force",
            "--json",
            "--home",
            str(home.root),
        ]
        assert await trio.to_thread.run_sync(run, line) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["releases"][-1]["height"] == 1
        names = {each.name for each in (tmp_path / "out").iterdir()}
        assert {file, "banyan.json"} <= names
        assert len({"adapter_model.safetensors", "model.safetensors", "model.gguf"} & names) == 1
