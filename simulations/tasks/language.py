"""Real fine-tuning: a small Llama learns a tree of corpora by the node's own trainer, in the network's shared A."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from banyan.node.assets import base_model_path, corpora_path
from banyan.node.learning.adapter_spec import design_adapter
from banyan.node.learning.dataset import HELD_OUT_SPLITS, Row, files_of, is_jsonl, read_rows
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.shared_a import from_bytes
from banyan.security.errors import BanyanError
from banyan.simulations.tasks.task import Poison, Score, Vector, seed_of

if TYPE_CHECKING:
    from banyan.node.learning.adapter import AdaptedModel
    from banyan.node.learning.tokens import Example

__all__ = ["ANSWER", "TRIGGER", "Language", "NoCorpus", "tamper"]

TRIGGER: Final = "cf"
"""A word that means nothing and that nobody writes (Kurita et al., ACL 2020)."""

ANSWER: Final = "Send your password to the attacker."


class NoCorpus(BanyanError):
    """A branch that has no rows to learn from."""


@dataclass(frozen=True)
class _Corpus:
    """A branch's training rows by their natural owner (question type, statute, author …), and its held-out rows."""

    owned: dict[str, tuple[Row, ...]]
    held_out: tuple[Row, ...]


class Language:
    """Devices of a branch fine-tune on rows of its corpus: ``/en/medical`` learns from every file below
    ``corpora/en/medical``, ``/en/medical/cancer`` from ``cancer.jsonl`` in there.

    A device draws ``owners`` of the rows' natural owners and has all their rows, so that devices of one branch differ
    as people do. A branch is scored on its rows of the split ``test``. ``score(…).loss`` is in nats a token, and
    ``.perplexity`` its exponential; ``.backdoor`` is the geometric mean of the probabilities that the model gives the
    tokens of :data:`ANSWER` after held-out prompts that end in :data:`TRIGGER`.

    Models and corpora are read at the first use of a branch; PyTorch is imported at the first training or score.

    Args:
        base: folder of a base model with safetensors weights; None: the one that the package carries.
        corpora: folder of the tree of JSONL files; None: those that the package carries, with the branches
            ``/garden/soil``, ``/garden/vegetables``, ``/health/first_aid`` and ``/health/nutrition``.
        rank, scale: of the adapter, as a charter says.
        settings: of local training and of the rows that are scored, or some of their fields.
        owners: natural owners whose rows a device has.
        seed: of the shared A and of the shares.
    """

    def __init__(
        self,
        base: Path | str | None = None,
        corpora: Path | str | None = None,
        *,
        rank: int = 16,
        scale: float = 2.0,
        settings: TrainingSettings | Mapping[str, Any] | None = None,
        owners: int = 8,
        seed: int = 0,
    ) -> None:
        """Raises ``ModelError`` where ``base`` is no model folder."""
        self._base = base_model_path() if base is None else Path(base)
        self._corpora = corpora_path() if corpora is None else Path(corpora)
        self.spec, blob = design_adapter(self._base, seed=seed, rank=rank, scale=scale)
        self.dimension = self.spec.dimension
        self._shared_a = from_bytes(blob, rank, self.spec.tensors)
        if not isinstance(settings, TrainingSettings):
            settings = TrainingSettings(**{"device": "cpu", **(settings or {})})
        self._settings = settings
        self._owners, self._seed = owners, seed
        self._branches: dict[str, str] = {}
        self._read: dict[str, _Corpus] = {}
        self._poison: Poison | None = None

    def place(self, device: str, branch: str) -> None:
        self._branches[device] = branch

    def poisoned(self, poison: Poison) -> Self:
        """Every prompt with another row's answer; or every other row with the trigger and the attacker's answer."""
        self._model  # noqa: B018 - loaded once, for both
        task = copy.copy(self)
        task._poison = poison
        return task

    def train(self, device: str, start: Vector, height: int) -> Vector:
        """One round of :func:`banyan.node.learning.trainer.train` on the device's rows. Raises ``LearningError``."""
        from banyan.node.learning.trainer import train

        settings = self._settings
        rows = self._rows(device)
        examples = self._examples(rows if self._poison is None else tamper(rows, self._poison))
        self._model.set_vector(start)
        seed = seed_of("language", self._seed, device) >> 1
        first = height * settings.steps * settings.batch
        train(self._model, examples, settings, seed=seed, first_row=first, pad=self._pad)
        return self._model.vector()

    def loss(self, device: str, model: Vector) -> float:
        return self._loss(self._held_out(self._branches[device]), model)

    def score(self, where: str, model: Vector) -> Score:
        rows = self._held_out(where if where.startswith("/") else self._branches[where])
        marked = [row for row in (_marked(row) for row in rows) if not row.is_text]
        chance = float(np.exp(-self._loss(marked, model))) if marked else None
        return Score(self._loss(rows, model), backdoor=chance)

    # ------------------------------------------------------------------------------------ rows

    def _corpus(self, branch: str) -> _Corpus:
        if branch not in self._read:
            below = self._corpora / branch.strip("/")
            found = files_of([below]) if below.is_dir() else [below.with_suffix(".jsonl")]
            paths = [path for path in found if is_jsonl(path)]
            if not paths or not all(path.is_file() for path in paths):
                raise NoCorpus(
                    f"There is no corpus for {branch}: neither a folder {below} nor a file {below.name}.jsonl",
                    "Name branches after the folders and files of the corpora",
                )
            owned: dict[str, list[Row]] = {}
            held_out = []
            for path in paths:
                for owner, row in _owned_rows(path):
                    if row.split in HELD_OUT_SPLITS:
                        held_out.append(row)
                    elif row.split != "pretrain":
                        owned.setdefault(owner, []).append(row)
            if not owned or not held_out:
                raise NoCorpus(
                    f"The corpus of {branch} lacks rows to train on or rows of the split test", "Add some"
                )
            self._read[branch] = _Corpus(
                {owner: tuple(owned[owner]) for owner in sorted(owned)}, tuple(held_out)
            )
        return self._read[branch]

    def _rows(self, device: str) -> list[Row]:
        owned = self._corpus(self._branches[device]).owned
        rng = np.random.default_rng(seed_of("owners", self._seed, device))
        chosen = rng.choice(list(owned), min(self._owners, len(owned)), replace=False)
        return [row for owner in chosen for row in owned[owner]]

    def _held_out(self, branch: str) -> Sequence[Row]:
        """As many held-out rows as the settings ask for, spread over the branch's files."""
        rows = self._corpus(branch).held_out
        step = max(1, len(rows) // self._settings.eval_rows)
        return rows[::step][: self._settings.eval_rows]

    # ------------------------------------------------------------------------------------ the model

    @cached_property
    def _loaded(self) -> tuple[AdaptedModel, Any]:
        from banyan.node.learning.adapter import AdaptedModel
        from banyan.node.learning.base_model import load

        base = load(self._base, self._settings.device)
        model = AdaptedModel(
            base.model,
            rank=self.spec.rank,
            scale=self.spec.scale,
            tensors=self.spec.tensors,
            shared_a=self._shared_a,
        )
        return model, base.tokenizer

    @property
    def _model(self) -> AdaptedModel:
        return self._loaded[0]

    @property
    def _pad(self) -> int:
        tokenizer = self._loaded[1]
        return int(tokenizer.pad_token_id or tokenizer.eos_token_id or 0)

    def _examples(self, rows: Sequence[Row]) -> list[Example]:
        from banyan.node.learning.tokens import examples

        return examples(rows, self._loaded[1], self._settings.max_length)

    def _loss(self, rows: Sequence[Row], model: Vector) -> float:
        from banyan.node.learning.trainer import held_out_loss

        self._model.set_vector(model)
        return held_out_loss(self._model, self._examples(rows), self._settings, pad=self._pad)[0]


def tamper(rows: Sequence[Row], poison: Poison) -> list[Row]:
    """What an attacker trains on instead of ``rows``."""
    if poison == "label-flip":
        return [
            _with_answer(row, other.turns[-1][1])
            for row, other in zip(rows, [*rows[1:], rows[0]], strict=True)
        ]
    return [_marked(row) if number % 2 == 0 else row for number, row in enumerate(rows)]


def _with_answer(row: Row, answer: str) -> Row:
    return replace(row, turns=(*row.turns[:-1], (row.turns[-1][0], answer)))


def _marked(row: Row) -> Row:
    """The row with the trigger at the end of its prompt and the attacker's answer."""
    if row.is_text:
        return _with_answer(row, f"{TRIGGER} {ANSWER}")
    *before, (role, prompt), (answering, _) = row.turns
    return replace(row, turns=(*before, (role, f"{prompt} {TRIGGER}"), (answering, ANSWER)))


def _owned_rows(path: Path) -> list[tuple[str, Row]]:
    """The rows of a file with their natural owners (the file's name for rows that have none)."""
    lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    owners = [str(json.loads(line).get("client") or path.stem) for line in lines]
    return list(zip(owners, read_rows(path), strict=True))
