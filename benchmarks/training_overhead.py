"""What Banyan's local training costs beside a bare PEFT + PyTorch loop of the same steps.

Run as ``python -m benchmarks.training_overhead [--base DIR] [--data PATH …]``; writes
``benchmarks/results/training_overhead.json``. Both do the same steps on the same batches with the same optimiser and
rate. They alternate within one run, each pair gives one ratio, and the median of the ratios is the result. Banyan's
side is a whole training job (blobs read, a Flower message there and back, progress, delta encoded, blob
written); only what the bare loop does not do at all, measuring the held-out loss before and after, is timed apart.

Processor time is the number to trust on a shared machine, wall time on a quiet one; both are written down.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch.nn.utils.rnn import pad_sequence
from torch.optim.lr_scheduler import LambdaLR

from banyan.node.learning.adapter_spec import design_adapter
from banyan.node.learning.base_model import load
from banyan.node.learning.dataset import load_dataset
from banyan.node.learning.flower import LocalClient, load_app
from banyan.node.learning.memory_blobs import MemoryBlobs
from banyan.node.learning.progress import Progress, listening
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.shared_a import from_bytes
from banyan.node.learning.tokens import examples
from banyan.node.learning.train_job import seed_of, train
from banyan.node.learning.trainer import rate, row_order
from banyan.node.learning.workplace import OWN_APP, Workplace
from banyan.protocol.effects import Train
from banyan.security.model import AdapterSpec

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks/results/training_overhead.json"
BRANCH = "/bench"


class BareLoop:
    """The loop anyone would write: transformers, PEFT with a frozen A, AdamW, a cosine. Rows are tokenized before."""

    def __init__(self, base: Path, data: list[Path], spec: AdapterSpec, a_blob: bytes, length: int) -> None:
        loaded = load(base, "cpu")
        config = LoraConfig(
            r=spec.rank,
            lora_alpha=spec.scale * spec.rank,
            target_modules=sorted({tensor.name.rsplit(".", 1)[-1] for tensor in spec.tensors}),
            task_type="CAUSAL_LM",
        )
        self.model = get_peft_model(loaded.model, config)
        shared_a = from_bytes(a_blob, spec.rank, spec.tensors)
        with torch.no_grad():
            for tensor in spec.tensors:
                a = self.model.base_model.model.get_submodule(tensor.name).lora_A["default"].weight
                a.copy_(torch.from_numpy(shared_a[tensor.name]))
                a.requires_grad_(False)
        made = examples(load_dataset(data).training, loaded.tokenizer, length)
        self.rows = [(torch.tensor(example.ids), torch.tensor(example.labels)) for example in made]

    def run(self, settings: TrainingSettings, seed: int) -> float:
        """Train from B = 0 for one round; the mean loss."""
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        with torch.no_grad():
            for parameter in trainable:
                parameter.zero_()
        optimiser = torch.optim.AdamW(trainable, lr=settings.learning_rate, weight_decay=0.0)
        schedule = LambdaLR(optimiser, lambda step: rate(step, settings))
        order = row_order(len(self.rows), seed)
        self.model.train()
        losses = []
        for _ in range(settings.steps):
            chosen = [self.rows[next(order)] for _ in range(settings.batch)]
            ids = pad_sequence([row for row, _ in chosen], batch_first=True, padding_value=0)
            labels = pad_sequence([label for _, label in chosen], batch_first=True, padding_value=-100)
            mask = pad_sequence([torch.ones_like(row) for row, _ in chosen], batch_first=True)
            loss = self.model(input_ids=ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trainable, settings.clip_norm)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad(set_to_none=True)
            losses.append(loss.item())
        return statistics.fmean(losses)


class Stopwatch:
    """Wall and processor seconds; those spent in held-out measurement are kept apart."""

    def __init__(self) -> None:
        self._held_out = [0.0, 0.0]
        self._last = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def hear(self, progress: Progress) -> None:
        """A listener: measuring lasts from its first ``evaluate`` report (of 0 rows) to its last."""
        now = self._now()
        if progress.phase == "evaluate" and progress.step > 0:
            self._held_out = [
                spent + b - a for spent, a, b in zip(self._held_out, self._last, now, strict=True)
            ]
        self._last = now

    def time(self, work: Callable[[], object]) -> tuple[float, float]:
        """Wall and processor seconds of ``work`` without its held-out measurement."""
        self._held_out = [0.0, 0.0]
        begin = self._last = self._now()
        with listening(self.hear):
            work()
        wall, cpu = (b - a - apart for a, b, apart in zip(begin, self._now(), self._held_out, strict=True))
        return wall, cpu


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, default=ROOT / "node/assets/base")
    parser.add_argument("--data", type=Path, nargs="+", default=[ROOT / "node/assets/corpora"])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    settings = TrainingSettings(device="cpu", eval_rows=4)
    spec, a_blob = design_adapter(options.base, seed=1)
    place = Workplace(spec, "int8", bytes(32), "bench", options.base, MemoryBlobs())
    place.blobs.put(a_blob)
    client = LocalClient(load_app(OWN_APP), place)
    bare = BareLoop(options.base, options.data, spec, a_blob, settings.max_length)
    seed = seed_of(place.network, place.node, BRANCH)
    losses: dict[str, float] = {}

    def ours() -> None:
        job = Train(BRANCH, 0, bytes(32), (), ())
        losses["ours"] = train(job, place, client, data=options.data, settings=settings).metrics["train_loss"]

    def theirs() -> None:
        losses["bare"] = bare.run(settings, seed)

    watch = Stopwatch()
    theirs(), ours()  # the first of each also loads, tokenizes and warms up
    pairs = []
    for i in range(options.pairs):
        first, second = (ours, theirs) if i % 2 else (theirs, ours)
        times = {work: watch.time(work) for work in (first, second)}
        pairs.append({"ours": times[ours], "bare": times[theirs]})
    ratios = {
        name: [pair["ours"][at] / pair["bare"][at] for pair in pairs]
        for at, name in enumerate(("wall", "processor"))
    }
    result = {
        "what": "seconds of a Banyan training job over those of a bare PEFT + PyTorch loop of the same steps",
        "date": datetime.now(UTC).date().isoformat(),
        "ratio_processor_median": round(statistics.median(ratios["processor"]), 4),
        "ratio_processor_of_fastest": round(_fastest(pairs, "ours") / _fastest(pairs, "bare"), 4),
        "ratio_wall_median": round(statistics.median(ratios["wall"]), 4),
        "ratios": {name: [round(ratio, 4) for ratio in values] for name, values in ratios.items()},
        "seconds_bare_wall_median": round(statistics.median(pair["bare"][0] for pair in pairs), 3),
        "mean_loss": {name: round(loss, 6) for name, loss in losses.items()},
        "base": options.base.resolve().name,
        "rank": spec.rank,
        "settings": asdict(settings),
        "threads": options.threads,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


def _fastest(pairs: list[dict[str, tuple[float, float]]], side: str) -> float:
    """The least processor time of one side: what the work costs when nothing disturbs it."""
    return min(pair[side][1] for pair in pairs)


if __name__ == "__main__":
    main()
