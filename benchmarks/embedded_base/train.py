"""Train the embedded base model and its tokenizer, and write `node/assets/base`.

    python -m benchmarks.embedded_base.train                       # some ten minutes on one core
    python -m benchmarks.embedded_base.train --out DIR --report FILE --steps 50  # a trial

The run is seeded: the same Python, torch and processor type give the same weights. The card, and `training.json`
beside this script, are written from what the run measured. (The report is not in the model's folder, where every
JSON file is part of the fingerprint that a network's charter holds.)
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import shutil
import sys
import time
from functools import partial
from pathlib import Path

import torch
import transformers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.embedded_base.card import card
from benchmarks.embedded_base.corpus import Corpus, gather
from benchmarks.embedded_base.tokenizer import row_ids, text_ids, train_tokenizer

OUT = Path(__file__).resolve().parents[2] / "node" / "assets" / "base"
REPORT = Path(__file__).with_name("training.json")

SEED = 20
VOCABULARY = 2048
CONTEXT = 256
BATCH = 8
STEPS = 1000
MATRIX_LEARNING_RATE = 5e-3  # Muon, scaled to the size of an AdamW step
OTHER_LEARNING_RATE = 4e-3  # AdamW: embedding and norms
WARM_UP = 0.05
GENERAL_REPEATS = 8  # the general rows are few: shown this often in each pass over the text
EVALUATE_EVERY = 100


def new_model() -> LlamaForCausalLM:
    """1.6 million parameters with random weights; the embedding is tied to the output."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=160,
            intermediate_size=432,
            num_hidden_layers=4,
            num_attention_heads=5,
            num_key_value_heads=5,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            attn_implementation="sdpa",
        )
    )


def training_documents(corpus: Corpus, tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """Token ids of every training document; the general rows appear `GENERAL_REPEATS` times."""
    documents = [text_ids(tokenizer, text) for text in corpus.prose]
    documents += [row_ids(tokenizer, row)[0] for row in corpus.definitions]
    documents += [row_ids(tokenizer, row)[0] for row in corpus.general] * GENERAL_REPEATS
    return documents


class Windows:
    """An endless run of (BATCH, CONTEXT + 1) windows over the documents, shuffled anew in each pass."""

    def __init__(self, documents: list[list[int]], order: random.Random) -> None:
        self.documents = documents
        self.order = order
        self.passes = 0
        self._stream: list[int] = []

    def next(self) -> Tensor:
        need = BATCH * (CONTEXT + 1)
        while len(self._stream) < need:
            self.order.shuffle(self.documents)
            self.passes += 1
            self._stream += [token for document in self.documents for token in document]
        taken, self._stream = self._stream[:need], self._stream[need:]
        return torch.tensor(taken).view(BATCH, CONTEXT + 1)


def held_out_documents(
    corpus: Corpus, tokenizer: PreTrainedTokenizerFast
) -> dict[str, list[tuple[list[int], list[int]]]]:
    """(ids, labels) of the held-out part: every token of prose counts, of rows only the response."""
    prose = [text_ids(tokenizer, text)[: CONTEXT + 1] for text in corpus.held_out_prose]
    return {
        "prose": [(ids, ids) for ids in prose],
        "definitions": [row_ids(tokenizer, row) for row in corpus.held_out_definitions],
        "general": [row_ids(tokenizer, row) for row in corpus.held_out_general],
    }


@torch.no_grad()
def mean_loss(model: LlamaForCausalLM, documents: list[tuple[list[int], list[int]]]) -> float:
    """Cross-entropy in nats per counted token, over all documents."""
    model.eval()
    total, count = 0.0, 0
    for start in range(0, len(documents), 16):
        part = documents[start : start + 16]
        width = max(len(ids) for ids, _ in part)
        ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in part])
        labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in part])
        logits = model(input_ids=ids).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
        )
        total += losses.item()
        count += int((labels[:, 1:] != -100).sum())
    model.train()
    return total / count


def schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate at `step`: linear warm-up, then a cosine down to zero."""
    warm = max(1, int(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def train(corpus: Corpus, tokenizer: PreTrainedTokenizerFast, steps: int) -> tuple[LlamaForCausalLM, dict]:
    """Train a new model; returns it with what was measured."""
    torch.manual_seed(SEED)
    model = new_model()
    # Muon is made for hidden matrices; on this text it had 4.38 after 400 steps where AdamW alone had 4.44 after 500.
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim < 2 or "embed" in name]
    optimizers = [
        torch.optim.Muon(
            matrices, lr=MATRIX_LEARNING_RATE, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=OTHER_LEARNING_RATE, weight_decay=0.0, betas=(0.9, 0.95)),
    ]
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, partial(schedule, steps=steps)) for o in optimizers]
    documents = training_documents(corpus, tokenizer)
    held_out = held_out_documents(corpus, tokenizer)
    windows = Windows(documents, random.Random(SEED))
    curve = []
    started = time.monotonic()

    def measure(step: int) -> None:
        losses = {name: round(mean_loss(model, part), 3) for name, part in held_out.items()}
        curve.append({"step": step, **losses})
        print(f"step {step:5d}  {losses}  {time.monotonic() - started:.0f} s", flush=True)

    measure(0)
    for step in range(steps):
        ids = windows.next()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for moving in (*optimizers, *schedules):
            moving.step()
        model.zero_grad(set_to_none=True)
        if (step + 1) % EVALUATE_EVERY == 0 or step + 1 == steps:
            measure(step + 1)

    model = model.to(torch.bfloat16)
    stored = model.float()  # what is stored is what is reported: measured after rounding to bfloat16
    report = {
        "parameters": sum(p.numel() for p in stored.parameters()),
        "layers": model.config.num_hidden_layers,
        "width": model.config.hidden_size,
        "tokens_of_text": sum(map(len, documents)),
        "tokens_seen": steps * BATCH * CONTEXT,
        "steps": steps,
        "batch": BATCH,
        "context": CONTEXT,
        "vocabulary": VOCABULARY,
        "seed": SEED,
        "curve": curve,
        "held_out_loss_before": {k: v for k, v in curve[0].items() if k != "step"},
        "held_out_loss_after": {name: round(mean_loss(stored, part), 3) for name, part in held_out.items()},
        "seconds": round(time.monotonic() - started),
    }
    return stored.to(torch.bfloat16), report


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder to replace (default: node/assets/base)")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the figures go, as JSON")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=1, help="torch threads; part of the seed")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    corpus = gather()
    texts = [*corpus.prose, *(f"{r.prompt}\n{r.response}" for r in (*corpus.definitions, *corpus.general))]
    tokenizer = train_tokenizer(texts, vocabulary=VOCABULARY, context=CONTEXT)
    model, report = train(corpus, tokenizer, arguments.steps)
    report |= {
        "corpus": {
            "prose": len(corpus.prose),
            "definitions": len(corpus.definitions),
            "general": len(corpus.general),
            "characters": sum(map(len, texts)),
            "fingerprint": corpus.fingerprint(),
        },
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": arguments.threads,
    }

    shutil.rmtree(arguments.out, ignore_errors=True)
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    arguments.report.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    (arguments.out / "README.md").write_text(card(report), "utf-8")
    for path in arguments.out.iterdir():
        path.chmod(0o644)  # safetensors writes 0600, and a package is for everyone on the machine
    size = sum(path.stat().st_size for path in arguments.out.iterdir())
    print(f"{arguments.out}: {size / 1e6:.2f} MB, {report['parameters']:,} parameters", file=sys.stderr)


if __name__ == "__main__":
    main()
