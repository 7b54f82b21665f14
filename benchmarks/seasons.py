"""What a fresh A every so often is worth: the same training in one season, and in one season after the other.

Run as ``python -m benchmarks.seasons --base DIR --data PATH …``; writes ``benchmarks/results/seasons.json``. Each run
does ``ROUNDS`` training jobs of ``STEPS`` steps on the same rows in the same order, what each learned being released in
full. They differ in A alone: one for all rounds; a fresh one for each, what was learned before frozen; and one of as
high a rank as all seasons have together, which costs that much more memory and traffic in every round. The loss is that
of the last model on rows that nobody trained on.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

from banyan.node.learning.adapter_spec import design_adapter
from banyan.node.learning.evaluate_job import evaluate
from banyan.node.learning.flower import LocalClient, load_app
from banyan.node.learning.memory_blobs import MemoryBlobs
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.train_job import train
from banyan.node.learning.workplace import OWN_APP, Workplace
from banyan.protocol.effects import Evaluate, Train, Trained

RESULT = Path(__file__).parent / "results" / "seasons.json"
ROUNDS, STEPS, ROWS = 3, 100, 64


class Run:
    """One node that is a network of its own: every update of it is released as it is."""

    def __init__(self, base: Path, data: list[Path], rank: int, seed: int) -> None:
        spec, a_blob = design_adapter(base, seed=seed, rank=rank)
        blobs = MemoryBlobs()
        blobs.put(a_blob)
        self._place = Workplace(spec, "float32", bytes(32), f"node {seed}", base, blobs)
        self._client = LocalClient(load_app(OWN_APP), self._place)
        self._data = data
        self._settings = TrainingSettings(
            steps=STEPS, batch=8, device="cpu", eval_rows=ROWS, continual="none", gate_tries=0
        )

    def losses(self, *, seasons: bool) -> list[float]:
        """The held-out loss before the first round and after each."""
        model: tuple[bytes, ...] = ()
        losses = [self._loss(model)]
        for number in range(ROUNDS):
            season = number if seasons else 0
            job = Train("/bench", number, bytes(32), model, (), season=season)
            done = train(job, self._place, self._client, data=self._data, settings=self._settings)
            assert isinstance(done, Trained)
            model = (*model, done.blob)
            losses.append(self._loss(model))
        return losses

    def _loss(self, model: tuple[bytes, ...]) -> float:
        job = Evaluate("/bench", 0, bytes(32), (model,), ROWS)
        return evaluate(job, self._place, self._client, data=self._data, settings=self._settings).losses[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, required=True, help="a base model's folder")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="JSONL files of one domain")
    parser.add_argument("--rank", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--seed", type=int, nargs="+", default=[1, 2, 3])
    chosen = parser.parse_args()
    runs = []
    for seed in chosen.seed:
        for rank in chosen.rank:
            for name, width, seasons in (
                ("one A", rank, False),
                ("a season a round", rank, True),
                ("one A of all ranks together", rank * ROUNDS, False),
            ):
                began = time.process_time()
                losses = Run(chosen.base, chosen.data, width, seed).losses(seasons=seasons)
                spent = round(time.process_time() - began, 1)
                runs.append({"run": name, "rank": rank, "seed": seed, "losses": losses, "seconds": spent})
                print(
                    f"seed {seed}, rank {rank}, {name}: {losses[0]:.3f} → {losses[-1]:.3f} ({spent} s)",
                    flush=True,
                )
                write(chosen.base.name, chosen.data, runs)


def write(base: str, data: list[Path], runs: list[dict[str, object]]) -> None:
    """Keep what is known so far."""
    machine = {"processor": platform.processor() or platform.machine(), "python": platform.python_version()}
    content = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine,
        "base": base,
        "data": [path.name for path in data],
        "rounds": ROUNDS,
        "steps": STEPS,
        "held_out_rows": ROWS,
        "runs": runs,
    }
    RESULT.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
