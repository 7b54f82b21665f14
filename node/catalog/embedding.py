"""A sentence model that is on this device, for odd wordings: a sentence-transformers folder with mean pooling.

It is read with transformers alone, from safetensors, and nothing is fetched (Reimers and Gurevych, arXiv:1908.10084).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from banyan.security.errors import BanyanError

#: Texts that are embedded together.
BATCH = 32


class EmbeddingError(BanyanError):
    """The folder holds no sentence model that can be read."""


class SentenceModel:
    """The model in ``folder``. Imports torch. Raises :class:`EmbeddingError`."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer, logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        safely: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **safely)
            self._model = AutoModel.from_pretrained(folder, use_safetensors=True, **safely).eval()
        except (OSError, ValueError, KeyError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise EmbeddingError(
                f"The sentence model in {folder} cannot be loaded ({first})",
                "Give a folder with config.json, a tokenizer and safetensors weights, or unset catalog.embedding",
            ) from error
        longest = getattr(self._model.config, "max_position_embeddings", None) or 512
        self._longest = min(512, int(longest) - 2)
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, ``(len(texts), width)`` float32: the mean of the last layer over each text's tokens."""
        import torch

        parts = []
        for at in range(0, len(texts), BATCH):
            batch = self._tokenizer(
                list(texts[at : at + BATCH]),
                padding=True,
                truncation=True,
                max_length=self._longest,
                return_tensors="pt",
            )
            batch.pop("token_type_ids", None)
            with torch.inference_mode():
                states = self._model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
            means = (states * mask).sum(1) / mask.sum(1).clamp_min(1)
            parts.append(torch.nn.functional.normalize(means, dim=-1).float().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
