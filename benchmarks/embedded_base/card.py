"""The model card of the embedded base model, filled with what its training measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# banyan-tiny-en

The base model inside the Banyan package: so small that a network of nodes can fine-tune it on a laptop's processor,
with nothing to download. **It knows format, not facts.** It has learnt what an English sentence and an answer look
like; what it says is mostly nonsense. It exists for demonstrations, tutorials and tests, where one watches losses
fall. Do not ask it anything that matters.

| | |
|---|---|
| architecture | `LlamaForCausalLM`, {layers} layers of width {width}, tied embeddings |
| parameters | {parameters:,}, stored in bfloat16 |
| tokenizer | byte-level BPE, {vocabulary:,} tokens, all 256 bytes among them: no unknown token, any text round-trips |
| context | {context} tokens |
| chat template | `<s><|user|>…<|assistant|>…</s>`, `<|system|>` allowed before |

## Trained on

{tokens_of_text:,} tokens, seen {passes:.1f} times ({steps:,} steps of {batch} × {context} tokens, {minutes:.0f} minutes
on a busy processor, {threads} thread{plural}):

- {prose:,} texts that every Python installation carries: docstrings and longer comments of the standard library of
  Python {python}, the docstrings of built-in modules and the pages of `help()`;
- {definitions:,} rows made of them: "What does textwrap.dedent do?", answered by the first paragraph of its docstring;
- {general} prompt/response rows about everyday things, written for this project.

It has never seen the corpora that the package ships for its demo (`health/…`, `garden/…`), nor anything like their
subjects. Held-out loss in nats a token, on the {held_out_share} of the documents that were kept apart (of rows, only
the response counts):

| | before | after |
|---|---|---|
{losses}

Because its text is about programming, its vocabulary and its taste are too. It speaks English only. It has no
safety training; it is too small to mean what it says.

## Made by

`python -m benchmarks.embedded_base.train` in the project's repository: seeded, no download; its settings and the
whole curve lie beside the script in `training.json`. The same Python, torch and processor type give the same weights;
another Python carries other docstrings and gives a sister of this model.

Python's documentation is © the Python Software Foundation and its contributors, under the PSF License; none of it is
contained here as text. Weights, tokenizer and general rows: Apache-2.0, as the project.
"""


def card(report: dict[str, Any]) -> str:
    """The card as Markdown with a metadata header; `report` is what `training.json` holds."""
    before, after = report["held_out_loss_before"], report["held_out_loss_after"]
    losses = "\n".join(f"| {name} | {before[name]:.2f} | {after[name]:.2f} |" for name in after)
    facts = {key: value for key, value in report.items() if not isinstance(value, dict | list)}
    return _CARD.format(
        **facts,
        prose=report["corpus"]["prose"],
        definitions=report["corpus"]["definitions"],
        general=report["corpus"]["general"],
        passes=report["tokens_seen"] / report["tokens_of_text"],
        minutes=report["seconds"] / 60,
        plural="" if report["threads"] == 1 else "s",
        held_out_share="twentieth",
        losses=losses,
    )


if __name__ == "__main__":
    # Rewrites the card after a change of its words, without training again.
    from banyan.node.assets import base_model_path

    report = json.loads(Path(__file__).with_name("training.json").read_text("utf-8"))
    (base_model_path() / "README.md").write_text(card(report), "utf-8")
    sys.exit(0)
