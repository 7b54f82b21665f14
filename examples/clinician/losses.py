"""The loss of exported models, by transformers and PEFT alone: what anybody can measure who has the files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

#: Tokens of a row at most, as in training.
LENGTH = 128


def losses(base: Path, wanted: Mapping[str, tuple[Path | None, Path]]) -> dict[str, float]:
    """Mean loss in nats a predicted token, by name: of an adapter folder on the ``base`` folder (None: of the base
    alone) over a file of rows."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    from banyan.node.learning.dataset import read_rows
    from banyan.node.learning.tokens import examples

    torch.set_num_threads(1)
    disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)  # of these libraries about each other
    tokenizer = AutoTokenizer.from_pretrained(base)
    found = {}
    for name, (adapter, rows) in wanted.items():
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, adapter)
        model.eval()
        length = min(LENGTH, model.config.max_position_embeddings)
        total, count = 0.0, 0
        with torch.inference_mode():
            for example in examples(read_rows(rows), tokenizer, length):
                ids, labels = torch.tensor([example.ids]), torch.tensor([example.labels])
                total += float(model(input_ids=ids, labels=labels).loss) * example.targets
                count += example.targets
        found[name] = total / count
    return found
