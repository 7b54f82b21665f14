"""A base model with one LoRA adapter whose A is the network's and frozen, and whose B is trained.

The model is ``W + s·B·A`` for every target matrix W. It is a plain PEFT model, so what is trained here is exactly
what a PEFT user would train with a frozen A.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor as TorchTensor
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from banyan.node.learning.adapted_linear import AdaptedLinear
from banyan.node.learning.errors import AdapterError
from banyan.node.learning.export import target_names
from banyan.node.learning.frozen import Frozen
from banyan.node.learning.layout import Layout, Tensor, Vector

ADAPTER = "default"


class Held:
    """The columns of B that a small device does not train: kept bit for bit, whatever the optimiser does."""

    def __init__(self, b: Sequence[TorchTensor], columns: int) -> None:
        self._b, self._columns = b, columns
        self._kept = [matrix[:, columns:].detach().clone() for matrix in b]

    def still(self) -> None:
        """Take the held columns out of the gradients, that they weigh in no norm."""
        for matrix in self._b:
            if matrix.grad is not None:
                matrix.grad[:, self._columns :] = 0

    @torch.no_grad()
    def restore(self) -> None:
        """Undo what a step did to them: weight decay and corrections have no gradient."""
        for matrix, kept in zip(self._b, self._kept, strict=True):
            matrix[:, self._columns :] = kept


class AdaptedModel:
    """``model`` wrapped with an adapter; B starts at zero, so at first it computes what ``model`` does."""

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        rank: int,
        scale: float,
        tensors: Sequence[Tensor],
        shared_a: Mapping[str, Vector],
    ) -> None:
        """Raises :class:`AdapterError` if a tensor is not a linear layer of ``model`` with the same shape."""
        self.layout = Layout(rank, tensors)
        linear = {
            name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)
        }
        for tensor in self.layout.tensors:
            module = linear.get(tensor.name)
            if module is None:
                raise AdapterError(f"The base model has no linear layer {tensor.name}")
            if (module.out_features, module.in_features) != (tensor.rows_out, tensor.cols_in):
                raise AdapterError(
                    f"{tensor.name} is {module.out_features}×{module.in_features} in the base model and "
                    f"{tensor.rows_out}×{tensor.cols_in} in the charter"
                )
        names = [tensor.name for tensor in self.layout.tensors]
        config = LoraConfig(
            r=rank,
            lora_alpha=scale * rank,  # PEFT scales by alpha / r
            target_modules=target_names(names, linear),
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
        )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # between the two libraries; nothing a user could do
            self.peft: PeftModel = get_peft_model(model, config)
        layers: dict[str, Any] = {name: self.peft.base_model.model.get_submodule(name) for name in names}
        self._layers = layers
        self._hooks: list[RemovableHandle] = []
        self._frozen: Frozen = {}
        self.set_shared_a(shared_a)
        self._b: dict[str, TorchTensor] = {}
        with torch.no_grad():
            for name, layer in layers.items():
                layer.lora_A[ADAPTER].weight.requires_grad_(False)
                self._b[name] = layer.lora_B[ADAPTER].weight
                self._b[name].zero_()

    @property
    def device(self) -> torch.device:
        return next(iter(self._b.values())).device

    def trainable(self) -> list[TorchTensor]:
        """The B matrices, in the layout's order."""
        return list(self._b.values())

    def hold(self, columns: int) -> Held:
        """Hold all but the first ``columns`` columns of every B as they are now; 0, or the whole rank: none."""
        return Held(self.trainable(), columns or self.layout.rank)

    def vector(self) -> Vector:
        """B as one float32 vector, a copy."""
        return self.layout.join({name: b.detach().float().cpu().numpy() for name, b in self._b.items()})

    def set_shared_a(self, shared_a: Mapping[str, Vector]) -> None:
        """Go on with the A of another season; B is then in terms of that."""
        with torch.no_grad():
            for name, layer in self._layers.items():
                layer.lora_A[ADAPTER].weight.copy_(torch.from_numpy(np.ascontiguousarray(shared_a[name])))

    def freeze(self, frozen: Frozen) -> None:
        """Add ``frozen``, and nothing else, to what the model computes beside B: what it learned in earlier seasons. It
        is not trained. Nothing is done to the base's weights, so it can be taken out again to the last bit."""
        if not frozen and not self._frozen:
            return
        for hook in self._hooks:
            hook.remove()
        self._frozen = frozen
        self._hooks = [
            self._layers[name].register_forward_hook(_adding(b, a, self.device))
            for name, (b, a) in frozen.items()
        ]

    def simplify(self) -> None:
        """From now on compute the same, bit for bit, in less time: for a model that is read and not trained. It keeps
        its A."""
        network = self.peft.base_model.model
        for name, layer in self._layers.items():
            base = layer.base_layer
            if type(base) is torch.nn.Linear:  # another may compute something else with its weights
                a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
                self._layers[name] = AdaptedLinear(base, a, b, layer.scaling[ADAPTER])
                network.set_submodule(name, self._layers[name])

    def set_vector(self, vector: Vector) -> None:
        """Set B. Raises :class:`AdapterError` on another length."""
        with torch.no_grad():
            for name, matrix in self.layout.split(vector).items():
                self._b[name].copy_(torch.from_numpy(matrix))


def _adding(
    b: Vector, a: Vector, device: torch.device
) -> Callable[[torch.nn.Module, tuple[TorchTensor, ...], TorchTensor], TorchTensor]:
    """A forward hook that adds ``b @ a`` to a linear layer."""
    up, down = torch.from_numpy(b).to(device), torch.from_numpy(a).to(device)

    def hook(module: torch.nn.Module, inputs: tuple[TorchTensor, ...], output: TorchTensor) -> TorchTensor:
        added = (inputs[0].to(down.dtype) @ down.T) @ up.T
        return output + added.to(output.dtype)

    return hook
