"""One whole round through real processes with a real, tiny model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from banyan.node.learning.adapter_spec import design_adapter
from banyan.node.learning.generate_job import Generate
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.tiny_model import write_tiny_model
from banyan.node.store.blobs import BlobStore
from banyan.node.worker.client import Worker, WorkerSettings, hello_for
from banyan.protocol.effects import Aggregate, Evaluate, Input, Inspect, Train

SETTINGS = TrainingSettings(steps=6, batch=4, max_length=32, learning_rate=0.05, device="cpu")


async def test_a_round_of_one_node_lowers_its_loss(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model")
    store = BlobStore(tmp_path / "blobs")
    spec, blob = design_adapter(model, seed=1, rank=4)
    store.put(blob)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"prompt": f"{i}+{i}?", "response": f"It is {2 * i}."}) + "\n" for i in range(30))
    )
    place = {
        "spec": spec,
        "codec": "int8",
        "network": b"n" * 32,
        "node": "a node",
        "base_model": model,
        "blobs": store.root,
    }
    settings = WorkerSettings(threads=1, niceness=0)
    async with (
        Worker(hello_for(role="full", **place), settings) as full,
        Worker(hello_for(role="light", **place), settings) as light,
    ):
        heard = []
        done = await full.train(
            Train("/en", 0, b"b" * 32, (), ()), data=[rows], settings=SETTINGS, on_progress=heard.append
        )
        assert done.metrics["loss_after"] < done.metrics["loss_before"]
        assert heard[0].phase == "load model"
        assert any(progress.phase == "train" and progress.tokens_per_second > 0 for progress in heard)
        assert (await light.inspect(Inspect(done.blob))).refusal is None
        closed = await light.aggregate(
            Aggregate("/en", 0, b"j" * 32, (Input(b"k" * 32, done.blob),), "mean", 0, 3.0, None)
        )
        after = await full.evaluate(
            Evaluate("/en", 1, b"j" * 32, ((), (closed.adapter,)), 64), data=[rows], settings=SETTINGS
        )
        # The release is the update as it travelled, rounded to 8 bits: as good as what was trained.
        assert abs(after.losses[1] - done.metrics["loss_after"]) < 0.01
        assert abs(after.losses[0] - done.metrics["loss_before"]) < 0.01 and after.seconds > 0
        like = ({"prompt": f"{i}+{i}?", "response": f"It is {2 * i}."} for i in range(40, 48))
        lines = (json.dumps(row | {"split": "test"}) + "\n" for row in like)
        probe = store.put("".join(lines).encode())
        alone = Evaluate("/en", 1, b"p" * 32, ((), (closed.adapter,)), 0, probe)
        public = await full.evaluate(alone, data=[], settings=SETTINGS)
        assert (public.losses, public.rows, public.probe_refusal) == ((), 0, "")
        assert public.probed[1] < public.probed[0], "what helps the rows helps their like"
        hostile = replace(alone, rows=64, probe=store.put(b"no rows at all"))
        spoiled = await full.evaluate(hostile, data=[rows], settings=SETTINGS)
        assert (spoiled.losses, spoiled.probe_refusal) == (after.losses, "probe-malformed")
        assert isinstance(await full.generate(Generate((closed.adapter,), "1+1?", 4)), str)
