"""Training, measuring and speaking with one base model and one adapter: the library behind the Flower ClientApp.

Loading a model takes seconds and tokenizing a data set too, so a worker keeps one :class:`Learner` and gives it a
new adapter for every job.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from banyan.node.learning.adapter import AdaptedModel
from banyan.node.learning.base_model import LoadedModel, load
from banyan.node.learning.continual.course import Source, learn
from banyan.node.learning.continual.memory import Memory, MemoryDamaged, save, set_aside
from banyan.node.learning.continual.memory import load as load_memory
from banyan.node.learning.dataset import files_of, load_dataset
from banyan.node.learning.errors import DataError
from banyan.node.learning.layout import Tensor, Vector
from banyan.node.learning.progress import Progress, report
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.tokens import examples, prompt_ids
from banyan.node.learning.trainer import Objective, held_out_loss, next_token_loss

Metrics = dict[str, float]


class Learner:
    """One base model with one adapter on one device."""

    def __init__(
        self,
        base: LoadedModel,
        *,
        rank: int,
        scale: float,
        tensors: Sequence[Tensor],
        shared_a: Mapping[str, Vector],
    ) -> None:
        """Raises :class:`AdapterError` where the adapter does not fit the model."""
        self.tokenizer = base.tokenizer
        self.model = AdaptedModel(base.model, rank=rank, scale=scale, tensors=tensors, shared_a=shared_a)
        self.pad = int(self.tokenizer.pad_token_id or self.tokenizer.eos_token_id or 0)
        self.context = int(
            getattr(base.model.config, "max_position_embeddings", 1 << 20)
        )  # more would be noise to it
        self._sources: dict[object, Source] = {}
        """The two that were read last: a device's own data, and what else it measures with."""

    def train(
        self,
        start: Vector,
        data: Sequence[Path],
        settings: TrainingSettings,
        *,
        seed: int,
        first_row: int = 0,
        memory: Path | None = None,
        objective: Objective = next_token_loss,
        only_better: bool = False,
    ) -> tuple[Vector, Metrics]:
        """B after one round from ``start`` (float32, Layout order), and what was measured.

        ``memory`` is the file of earlier tasks (see :mod:`banyan.node.learning.continual`), which this round protects
        and, unless its version is rejected, joins; None: nothing is remembered. A damaged file is set aside.
        ``objective`` is what is made small; the held-out losses are those of the rows' own text whatever it is.

        ``loss_before`` and ``loss_after`` are held-out losses (absent where no row is held out). ``gate_passed`` is 0
        where an earlier task would lose more than the owner allows, or, with ``only_better``, where ``loss_after`` is
        above ``loss_before``: B is then what was rejected. The same inputs give
        the same B on one processor; a GPU may sum in another order each time. Raises :class:`DataError` and what
        :func:`learn` raises.
        """
        begin = time.perf_counter()
        source = self._read(data, settings)
        if not source.training:
            raise DataError(
                source.name, None, "no row has anything to predict", "Raise max_length or add rows"
            )
        source = replace(source, held_out=source.held_out[: settings.eval_rows])
        past, metrics = self._recall(memory)
        self.model.set_vector(start)
        if source.held_out:
            metrics["loss_before"], _ = held_out_loss(self.model, source.held_out, settings, pad=self.pad)
        outcome = learn(
            self.model,
            past,
            source,
            settings,
            seed=seed,
            first_row=first_row,
            pad=self.pad,
            objective=objective,
            most_loss=metrics.get("loss_before", math.inf) if only_better else math.inf,
        )
        if outcome.loss is not None:
            metrics["loss_after"] = outcome.loss
        if memory is not None and outcome.memory is not None:
            save(memory, outcome.memory)
            metrics |= {"tasks": len(outcome.memory.tasks), "memory_bytes": memory.stat().st_size}
        if (verdict := outcome.verdict) is not None:
            metrics |= {
                "gate_share": verdict.share,
                "gate_rise": verdict.rise,
                "gate_evaluations": verdict.evaluations,
                "gate_seconds": outcome.gate_seconds,
            }
        done = outcome.training
        metrics |= {
            "gate_passed": outcome.memory is not None,
            "train_loss": done.loss,
            "steps": done.steps,
            "rows": done.rows,
            "tokens": done.tokens,
            "train_seconds": done.seconds,
            "seconds": time.perf_counter() - begin,
            "held_out_rows": len(source.held_out),
        }
        return self.model.vector(), {name: float(value) for name, value in metrics.items()}

    def evaluate(self, vector: Vector, data: Sequence[Path], settings: TrainingSettings) -> Metrics:
        """``loss`` in nats a token over the held-out rows, with ``rows``, ``tokens`` and ``seconds``.

        Raises :class:`DataError` where no row is held out.
        """
        begin = time.perf_counter()
        source = self._read(data, settings, measured=True)
        held_out = source.held_out[: settings.eval_rows]
        if not held_out:
            raise DataError(source.name, None, "no row is held out to measure on", "Add rows")
        self.model.set_vector(vector)
        loss, tokens = held_out_loss(self.model, held_out, settings, pad=self.pad)
        spent = time.perf_counter() - begin
        return {"loss": loss, "rows": float(len(held_out)), "tokens": float(tokens), "seconds": spent}

    def generate(self, vector: Vector, prompt: str, max_tokens: int) -> str:
        """What the model answers to ``prompt``, greedily, at most ``max_tokens`` tokens."""
        self.model.set_vector(vector)
        ids = torch.tensor([prompt_ids(prompt, self.tokenizer)], device=self.model.device)
        with torch.inference_mode():
            answer = self.model.peft.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_tokens,
                do_sample=False,
                use_cache=True,
                pad_token_id=self.pad,
            )
        return str(self.tokenizer.decode(answer[0, ids.shape[1] :], skip_special_tokens=True)).strip()

    def _recall(self, memory: Path | None) -> tuple[Memory, Metrics]:
        """The memory in the file, and where a damaged one made it begin anew a metric that says so."""
        if memory is None:
            return Memory(), {}
        try:
            return load_memory(memory, self.model.layout.dimension), {}
        except MemoryDamaged:
            set_aside(memory)
            return Memory(), {"memory_damaged": 1.0}

    def _read(self, data: Sequence[Path], settings: TrainingSettings, *, measured: bool = False) -> Source:
        """Training and held-out sequences, the former perhaps none where it is ``measured`` with only; tokenized again
        only when a file or a setting has changed."""
        stats = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files_of(data)]
        key = (tuple(stats), settings.max_length, settings.use_pretrain_rows)
        source = self._sources.pop(key, None)
        if source is None:
            report(Progress("read data"))
            rows = load_dataset(data, use_pretrain_rows=settings.use_pretrain_rows, measured=measured)
            length = min(settings.max_length, self.context)
            source = Source(
                ", ".join(map(str, data)),
                frozenset(row.content for row in rows.training),
                examples(rows.training, self.tokenizer, length),
                examples(rows.held_out, self.tokenizer, length),
                int(time.time()),
            )
            while len(self._sources) > 1:
                del self._sources[next(iter(self._sources))]
        self._sources[key] = source
        return source


# One model at a time: a worker serves one network, and two models might not fit into memory.
_shared: tuple[object, bytes, Learner] | None = None


def shared_learner(
    folder: Path,
    device: str,
    *,
    rank: int,
    scale: float,
    tensors: Sequence[Tensor],
    shared_a: Mapping[str, Vector],
) -> Learner:
    """This process's learner for a base model and adapter shape; loads the model where it is another than before, and
    only changes A where that is.

    Raises :class:`ModelError`, :class:`AdapterError`.
    """
    global _shared
    digest = hashlib.sha256(b"".join(shared_a[tensor.name].tobytes() for tensor in tensors)).digest()
    key = (str(folder), device, rank, scale, tuple(tensor.name for tensor in tensors))
    if _shared is None or _shared[0] != key:
        _shared = None  # free the old model first
        report(Progress("load model"))
        base = load(folder, device)
        _shared = key, digest, Learner(base, rank=rank, scale=scale, tensors=tensors, shared_a=shared_a)
    elif _shared[1] != digest:
        _shared[2].model.set_shared_a(shared_a)
        _shared = key, digest, _shared[2]
    return _shared[2]
