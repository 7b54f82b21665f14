"""The memory formula against processes that really load a model, answer and train: their peak resident memory,
without the pages of the weights' file.

``python -m benchmarks catalog-memory``. Models are Llamas of random weights with the embedded tokenizer, float32 on the
processor, so nothing needs to be fetched.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from banyan.node.catalog.memory import TOKENS, needed
from banyan.node.catalog.need import Use
from benchmarks.recommender.catalog import branches

RESULTS = Path("benchmarks/results")
RANK = 16

#: layers, hidden, intermediate, heads, heads with keys, vocabulary
SHAPES: Mapping[str, tuple[int, int, int, int, int, int]] = {
    "4M": (4, 160, 432, 5, 5, 2_048),
    "30M": (8, 512, 1_376, 8, 4, 8_000),
    "110M": (12, 768, 2_048, 12, 4, 32_000),
}
PROMPT = "What helps against slugs in a vegetable bed? "


def facts(folder: Path) -> Any:
    """A listing of the model in ``folder`` as a card would describe it."""
    from banyan.node.catalog.describing import base_of
    from banyan.node.learning.base_model import fingerprint, target_tensors

    tensors = target_tensors(folder)
    base = base_of(folder / "config.json", fingerprint(folder))
    own = branches()[0]
    return own.model_copy(
        update={
            "base": own.base.model_copy(
                update={
                    name: getattr(base, name)
                    for name in (
                        "parameters",
                        "layers",
                        "hidden",
                        "intermediate",
                        "heads",
                        "kv_width",
                        "vocabulary",
                        "context",
                    )
                }
            ),
            "adapter_parameters": RANK * sum(tensor.rows_out for tensor in tensors),
            "adapter_inputs": RANK * sum(tensor.cols_in for tensor in tensors),
        }
    )


def write(folder: Path, shape: tuple[int, int, int, int, int, int]) -> None:
    """A random Llama with the embedded tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from banyan.node.assets import base_model_path

    layers, hidden, intermediate, heads, kv_heads, vocabulary = shape
    AutoTokenizer.from_pretrained(base_model_path()).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=2_048,
        tie_word_embeddings=True,
        dtype="bfloat16",
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def work(folder: Path, use: Use) -> None:
    """In a process of its own: do what a worker does for ``use``; print the peak in bytes and the rates."""
    import resource
    import time

    import numpy as np

    from banyan.node.learning.base_model import target_tensors
    from banyan.node.learning.flower import LocalClient  # what a full worker imports
    from banyan.node.learning.learner import shared_learner
    from banyan.node.learning.settings import TrainingSettings
    from banyan.node.learning.shared_a import draw

    assert LocalClient
    tensors = target_tensors(folder)
    learner = shared_learner(
        folder, "cpu", rank=RANK, scale=1.0, tensors=tensors, shared_a=draw(0, RANK, tensors)
    )
    start = np.zeros(RANK * sum(tensor.rows_out for tensor in tensors), np.float32)
    rate = 0.0
    if use == "run":
        learner.generate(start, PROMPT * 160, 2)
        begin = time.perf_counter()
        learner.generate(start, PROMPT, 8)
        rate = 8 / (time.perf_counter() - begin)
    else:
        rows = folder / "rows.jsonl"
        rows.write_text("".join(json.dumps({"text": PROMPT * 40 + str(n)}) + "\n" for n in range(40)))
        settings = TrainingSettings(steps=1, batch=12, max_length=TOKENS, eval_rows=4, continual="none")
        _, metrics = learner.train(start, [rows], settings, seed=0)
        rate = metrics["tokens"] / metrics["train_seconds"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pages = (folder / "model.safetensors").stat().st_size  # mapped, and the kernel's to take back
    print(json.dumps({"peak": peak - pages, "tokens_per_second": rate}))


def measure(name: str, use: Use) -> dict[str, Any]:
    """One model, one use: the peak, what the formula says, and their ratio."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        code = f"import benchmarks.recommender.memory as m, pathlib; m.write(pathlib.Path({place!r}), {SHAPES[name]!r})"
        subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
        command = [sys.executable, "-m", "benchmarks.recommender.memory", "--work", use, "--folder", place]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        said = needed(facts(folder), use, "float32")
    return {
        "model": name,
        "use": use,
        "measured_mb": round(found["peak"] / 1e6),
        "formula_mb": round(said / 1e6),
        "ratio": round(said / found["peak"], 2),
        "tokens_per_second": round(found["tokens_per_second"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", choices=["run", "train"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--model", action="append", choices=list(SHAPES), help="which; all if none is named")
    parser.add_argument("--out", type=Path, default=RESULTS / "catalog-memory.json")
    options = parser.parse_args()
    if options.work:
        work(options.folder, options.work)
        return
    rows = []
    uses: tuple[Use, Use] = ("run", "train")
    for name in options.model or SHAPES:
        for use in uses:
            row = measure(name, use)
            rows.append(row)
            print(
                f"{row['model']:>5} {use:6} measured {row['measured_mb']:6} MB, formula {row['formula_mb']:6} MB, "
                f"ratio {row['ratio']:.2f}, {row['tokens_per_second']} tokens/s",
                flush=True,
            )
    result = {
        "what": "peak resident memory of a process at work with a model, less the file's pages, beside the formula",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}, float32",
        "rows": rows,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
