"""Models that are trained on a device's rows and measured on a leaf's: the network's adapter, and full LoRA."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from banyan.aggregation.lora import Adapter, Factors
from banyan.node.learning.adapter import ADAPTER, AdaptedModel
from banyan.node.learning.adapter_spec import design_adapter
from banyan.node.learning.base_model import load
from banyan.node.learning.dataset import Row
from banyan.node.learning.layout import Vector
from banyan.node.learning.memory_blobs import MemoryBlobs
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.shared_a import from_bytes
from banyan.node.learning.tokens import Example, examples
from banyan.node.learning.trainer import held_out_loss, train
from banyan.node.learning.workplace import frozen_of, shared_a_of
from banyan.simulations.tasks.task import seed_of
from benchmarks.learning.shares import Device


@dataclass(frozen=True)
class Seasoned:
    """A model of the network's adapter in a later season: B in terms of that season's A, and those of earlier ones."""

    b: Vector
    season: int = 0
    frozen: Mapping[int, Vector] = field(default_factory=dict)


class School:
    """One base model on one core, with an adapter of each kind for one seed.

    What is trained is a :data:`Vector` (B, with the network's frozen A) or an :data:`Adapter` (A and B of LoRA).
    """

    def __init__(self, base: Path, settings: TrainingSettings, *, rank: int, scale: float, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.spec, blob = design_adapter(base, seed=seed, rank=rank, scale=scale)
        loaded = load(base, "cpu")
        self._tokenizer = loaded.tokenizer
        self._pad = int(loaded.tokenizer.pad_token_id or loaded.tokenizer.eos_token_id or 0)
        self._blobs = MemoryBlobs()
        self._blobs.put(blob)
        drawn = from_bytes(blob, rank, self.spec.tensors)
        tensors = self.spec.tensors
        self._shared = AdaptedModel(loaded.model, rank=rank, scale=scale, tensors=tensors, shared_a=drawn)
        self.lora = FullLora(base, rank=rank // 2, scale=scale, tensors=tensors, seed=seed)
        self._examples: dict[int, list[Example]] = {}
        self.steps = 0
        self.on_steps: Callable[[int], None] = lambda steps: None

    def train(
        self, device: Device, start: Vector | Seasoned, height: int, settings: TrainingSettings
    ) -> Vector:
        """B after a round of :func:`banyan.node.learning.trainer.train` on the device's rows."""
        self._set(start if isinstance(start, Seasoned) else Seasoned(start))
        self._train(self._shared, device, height, settings)
        return self._shared.vector()

    def train_lora(self, device: Device, start: Adapter, height: int, settings: TrainingSettings) -> Adapter:
        """Both factors after a round of the same."""
        self.lora.set_factors(start)
        self._train(self.lora, device, height, settings)
        return self.lora.factors()

    def _train(self, model: AdaptedModel, device: Device, height: int, settings: TrainingSettings) -> None:
        first = height * settings.steps * settings.batch
        seed = seed_of("order", self.seed, device.name) >> 1
        train(model, self._read(device.rows), settings, seed=seed, first_row=first, pad=self._pad)
        self.steps += settings.steps
        self.on_steps(settings.steps)

    def _set(self, model: Seasoned) -> None:
        self._shared.set_shared_a(shared_a_of(self.spec, model.season, self._blobs))
        self._shared.freeze(frozen_of(self.spec, model.frozen, self._blobs))
        self._shared.set_vector(model.b)

    def loss(self, rows: Sequence[Row], model: Vector | Seasoned | Adapter) -> float:
        """Nats a token on ``rows``."""
        if isinstance(model, Mapping):
            self.lora.set_factors(model)
            adapted: AdaptedModel = self.lora
        else:
            self._set(model if isinstance(model, Seasoned) else Seasoned(model))
            adapted = self._shared
        return held_out_loss(adapted, self._read(rows), self.settings, pad=self._pad)[0]

    def _read(self, rows: Sequence[Row]) -> list[Example]:
        """Tokenized once: devices and leaves keep their rows."""
        if id(rows) not in self._examples:
            self._examples[id(rows)] = examples(rows, self._tokenizer, self.settings.max_length)
        return self._examples[id(rows)]


class FullLora(AdaptedModel):
    """The same model with LoRA whose A is trained, too, from PEFT's own kind of start (Kaiming uniform A, B zero)."""

    def __init__(self, base: Path, *, rank: int, scale: float, tensors: Sequence[object], seed: int) -> None:
        rng = np.random.default_rng(seed_of("lora", seed))
        first = {
            tensor.name: rng.uniform(-1, 1, (rank, tensor.cols_in)).astype(np.float32)
            / np.sqrt(tensor.cols_in)
            for tensor in tensors
        }
        super().__init__(load(base, "cpu").model, rank=rank, scale=scale, tensors=tensors, shared_a=first)
        self._layers = {name: self.peft.base_model.model.get_submodule(name) for name in sorted(first)}
        for layer in self._layers.values():
            layer.lora_A[ADAPTER].weight.requires_grad_(True)

    def trainable(self) -> list[torch.Tensor]:
        """The A and B matrices."""
        return [
            part[ADAPTER].weight for layer in self._layers.values() for part in (layer.lora_A, layer.lora_B)
        ]

    def factors(self) -> Adapter:
        """Copies of both factors of every target."""
        return {
            name: Factors(
                *(part[ADAPTER].weight.detach().numpy().copy() for part in (layer.lora_B, layer.lora_A))
            )
            for name, layer in self._layers.items()
        }

    def set_factors(self, adapter: Adapter) -> None:
        """Set both factors. An aggregate of a lower rank than this model's is padded with zeros."""
        with torch.no_grad():
            for name, layer in self._layers.items():
                b, a = layer.lora_B[ADAPTER].weight, layer.lora_A[ADAPTER].weight
                b.zero_()
                a.zero_()
                rank = adapter[name].b.shape[1]
                b[:, :rank] = torch.from_numpy(np.ascontiguousarray(adapter[name].b))
                a[:rank] = torch.from_numpy(np.ascontiguousarray(adapter[name].a))


def fedit(adapters: Sequence[Adapter]) -> Adapter:
    """The mean of the factors, each by itself (FedIT, Zhang et al. 2023)."""
    return {
        name: Factors(
            np.mean([each[name].b for each in adapters], axis=0),
            np.mean([each[name].a for each in adapters], axis=0),
        )
        for name in adapters[0]
    }


def at_rate(settings: TrainingSettings, rate: float) -> TrainingSettings:
    """``settings`` with another learning rate."""
    return replace(settings, learning_rate=rate)
