"""Training, measuring and speaking with one base model and one adapter: the library behind the Flower ClientApp.

Loading a model takes seconds and tokenizing a data set too, so a worker keeps one :class:`Learner` and gives it a
new adapter for every job.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from banyan.node.learning.adapter import AdaptedModel
from banyan.node.learning.base_model import LoadedModel, load
from banyan.node.learning.dataset import files_of, load_dataset
from banyan.node.learning.errors import DataError
from banyan.node.learning.layout import Tensor, Vector
from banyan.node.learning.progress import Progress, report
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.tokens import Example, examples, prompt_ids
from banyan.node.learning.trainer import held_out_loss, train

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
        self._pad = int(self.tokenizer.pad_token_id or self.tokenizer.eos_token_id or 0)
        self._context = int(
            getattr(base.model.config, "max_position_embeddings", 1 << 20)
        )  # more would be noise to it
        self._data_key: object = None
        self._data: tuple[list[Example], list[Example]] = ([], [])

    def train(
        self,
        start: Vector,
        data: Sequence[Path],
        settings: TrainingSettings,
        *,
        seed: int,
        first_row: int = 0,
    ) -> tuple[Vector, Metrics]:
        """B after one round from ``start`` (float32, Layout order), and what was measured.

        ``loss_before`` and ``loss_after`` are held-out losses (absent where no row is held out). The same inputs
        give the same B on one processor; a GPU may sum in another order each time. Raises :class:`DataError` and
        what :func:`train` raises.
        """
        begin = time.perf_counter()
        training, held_out = self._read(data, settings)
        if not training:
            raise DataError(
                _names(data), None, "no row has anything to predict", "Raise max_length or add rows"
            )
        held_out = held_out[: settings.eval_rows]
        self.model.set_vector(start)
        metrics: Metrics = {}
        if held_out:
            metrics["loss_before"], _ = held_out_loss(self.model, held_out, settings, pad=self._pad)
        done = train(self.model, training, settings, seed=seed, first_row=first_row, pad=self._pad)
        if held_out:
            metrics["loss_after"], _ = held_out_loss(self.model, held_out, settings, pad=self._pad)
        metrics |= {
            "train_loss": done.loss,
            "steps": done.steps,
            "rows": done.rows,
            "tokens": done.tokens,
            "train_seconds": done.seconds,
            "seconds": time.perf_counter() - begin,
            "held_out_rows": len(held_out),
        }
        return self.model.vector(), {name: float(value) for name, value in metrics.items()}

    def evaluate(self, vector: Vector, data: Sequence[Path], settings: TrainingSettings) -> Metrics:
        """``loss`` in nats a token over the held-out rows, with ``rows``, ``tokens`` and ``seconds``.

        Raises :class:`DataError` where no row is held out.
        """
        begin = time.perf_counter()
        held_out = self._read(data, settings)[1][: settings.eval_rows]
        if not held_out:
            raise DataError(_names(data), None, "no row is held out to measure on", "Add rows")
        self.model.set_vector(vector)
        loss, tokens = held_out_loss(self.model, held_out, settings, pad=self._pad)
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
                pad_token_id=self._pad,
            )
        return str(self.tokenizer.decode(answer[0, ids.shape[1] :], skip_special_tokens=True)).strip()

    def _read(self, data: Sequence[Path], settings: TrainingSettings) -> tuple[list[Example], list[Example]]:
        """Training and held-out sequences; tokenized again only when a file or a setting has changed."""
        stats = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files_of(data)]
        key = (stats, settings.max_length, settings.use_pretrain_rows)
        if key != self._data_key:
            report(Progress("read data"))
            rows = load_dataset(data, use_pretrain_rows=settings.use_pretrain_rows)
            length = min(settings.max_length, self._context)
            training = examples(rows.training, self.tokenizer, length)
            self._data = (training, examples(rows.held_out, self.tokenizer, length))
            self._data_key = key
        return self._data


def _names(data: Sequence[Path]) -> str:
    return ", ".join(map(str, data))


# One model at a time: a worker serves one network, and two models might not fit into memory.
_shared: tuple[object, Learner] | None = None


def shared_learner(
    folder: Path,
    device: str,
    *,
    rank: int,
    scale: float,
    tensors: Sequence[Tensor],
    shared_a: Mapping[str, Vector],
) -> Learner:
    """This process's learner for a base model and adapter shape; loads the model where it is another than before.

    Raises :class:`ModelError`, :class:`AdapterError`.
    """
    global _shared
    digest = hashlib.sha256(b"".join(shared_a[tensor.name].tobytes() for tensor in tensors)).digest()
    key = (str(folder), device, rank, scale, tuple(tensor.name for tensor in tensors), digest)
    if _shared is None or _shared[0] != key:
        _shared = None  # free the old model first
        report(Progress("load model"))
        base = load(folder, device)
        _shared = key, Learner(base, rank=rank, scale=scale, tensors=tensors, shared_a=shared_a)
    return _shared[1]
