"""What ``banyan serve`` costs beside a bare ``model.generate``, and what it gains when several ask at once.

Run as ``python -m benchmarks.serving [--base DIR …]``; writes ``benchmarks/results/serving.json`` and ``serving.md``.
The server is a process of its own, asked by the real ``openai`` client over loopback; the bare loop runs here: on
PEFT's model, on the same with the server's own LoRA layers, and on the base without any. All write the same number of
tokens greedily. They take turns within one run, each turn gives one ratio, and the median of the ratios is the result:
wall time, and processor time of whoever computes. transformers' own continuous batching is measured in a process of its
own, without HTTP before it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from banyan.node.home import Home

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results"
BASES = [ROOT / "node/assets/base", ROOT.parent / "shared/models/base-4m"]

#: What is asked: eight prompts, each of whose answers has this many tokens.
PROMPTS = [f"{word} is" for word in ("Clay", "Sand", "Silt", "Loam", "Peat", "Chalk", "Humus", "Mud")]
TOKENS = 64

LIMIT_OVERHEAD, LIMIT_GAIN = 1.10, 2.0


class Bare:
    """``generate``, greedily, on one prompt after another."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        model.generation_config.eos_token_id = None  # every answer has the same length
        self._model, self._tokenizer = model, tokenizer

    def one(self, prompt: str) -> list[int]:
        import torch

        from banyan.node.learning.tokens import text_ids

        ids = torch.tensor([text_ids(prompt, self._tokenizer)])
        with torch.inference_mode():
            whole = self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=TOKENS,
                do_sample=False,
                use_cache=True,
                pad_token_id=0,
            )
        found: list[int] = whole[0, ids.shape[1] :].tolist()
        assert len(found) == TOKENS
        return found


class Server:
    """``banyan serve`` as a process, and a client of it."""

    def __init__(self, home: Home) -> None:
        from openai import OpenAI

        command = [sys.executable, "-c", "from banyan.node.cli import main; main()", "serve", "--port", "0"]
        self._process = subprocess.Popen(
            [*command, "--threads", "1", "--device", "cpu", "--json", "--home", str(home.root)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self._seen = psutil.Process(self._process.pid)
        self._client = OpenAI(base_url=told["url"], api_key=Path(told["key_file"]).read_text(), max_retries=0)
        self._model = told["branch"]

    def processor_seconds(self) -> float:
        used = self._seen.cpu_times()
        return float(used.user + used.system)

    def one(self, prompt: str) -> str:
        answer = self._client.completions.create(**self._wish(prompt))
        assert answer.usage.completion_tokens == TOKENS
        return str(answer.choices[0].text)

    def one_streamed(self, prompt: str) -> str:
        chunks = self._client.completions.create(stream=True, **self._wish(prompt))
        return "".join(chunk.choices[0].text for chunk in chunks)

    def all_at_once(self) -> None:
        threads = [threading.Thread(target=self.one, args=(prompt,)) for prompt in PROMPTS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def one_after_another(self) -> None:
        for prompt in PROMPTS:
            self.one(prompt)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _wish(self, prompt: str) -> dict[str, Any]:
        return {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": TOKENS,
            "temperature": 0,
            "extra_body": {"ignore_eos": True},
        }


def timed(
    work: Callable[[], object], processor: Callable[[], float] = time.process_time
) -> tuple[float, float]:
    """Wall and processor seconds of ``work``."""
    wall, used = time.perf_counter(), processor()
    work()
    return time.perf_counter() - wall, processor() - used


def measure(base: Path, turns: int) -> dict[str, Any]:
    """Every figure on one base model."""
    import torch

    from banyan.node.founding import Founding, found_network
    from banyan.node.learning.adapter import AdaptedModel
    from banyan.node.learning.base_model import load
    from banyan.node.serving.base_in_memory import BaseInMemory
    from banyan.node.serving.chosen_release import shared_a_of

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        charter = found_network(home, Founding("bench", base, preset="local"), int(time.time() * 1000))
        shared = BaseInMemory(base, charter.adapter, shared_a_of(home, charter.adapter), "cpu")
        spec = charter.adapter
        peft = AdaptedModel(
            load(base, "cpu").model,
            rank=spec.rank,
            scale=spec.scale,
            tensors=spec.tensors,
            shared_a=shared_a_of(home, spec),
        )
        adapted = Bare(peft.peft, shared.tokenizer)
        own = Bare(shared.model_with(_nothing(spec.dimension)).peft, shared.tokenizer)
        plain = Bare(load(base, "cpu").model, shared.tokenizer)
        server = Server(home)
        try:
            text = shared.tokenizer.decode(adapted.one(PROMPTS[0]), skip_special_tokens=True)
            assert server.one(PROMPTS[0]) == server.one_streamed(PROMPTS[0]) == text
            assert adapted.one(PROMPTS[0]) == own.one(PROMPTS[0])
            plain.one(PROMPTS[0])
            rounds = [_turn(i, adapted, own, plain, server) for i in range(turns)]
        finally:
            server.close()
    tokens = TOKENS * len(PROMPTS)
    return {
        "base": base.resolve().name,
        "parameters": charter.base.parameters,
        "rank": charter.adapter.rank,
        "one_request": {name: _ratios(rounds, name, "adapted") for name in ("served", "streamed")},
        "one_request_beside_the_servers_own_layers": {
            name: _ratios(rounds, name, "own") for name in ("served", "streamed")
        },
        "one_request_beside_the_base_without_adapter": _ratios(rounds, "served", "plain"),
        "adapter_layers_cost_generate": _ratios(rounds, "adapted", "plain"),
        "eight_at_once_gain": _ratios(rounds, "after_another", "at_once"),
        "tokens_per_second": {
            name: round(statistics.median(tokens / each[name][0] for each in rounds), 1)
            for name in ("after_another", "at_once")
        },
    }


def _turn(i: int, adapted: Bare, own: Bare, plain: Bare, server: Server) -> dict[str, tuple[float, float]]:
    prompt = PROMPTS[i % len(PROMPTS)]
    works: dict[str, tuple[Callable[[], object], Callable[[], float]]] = {
        "adapted": (lambda: adapted.one(prompt), time.process_time),
        "served": (lambda: server.one(prompt), server.processor_seconds),
        "own": (lambda: own.one(prompt), time.process_time),
        "plain": (lambda: plain.one(prompt), time.process_time),
        "streamed": (lambda: server.one_streamed(prompt), server.processor_seconds),
        "after_another": (server.one_after_another, server.processor_seconds),
        "at_once": (server.all_at_once, server.processor_seconds),
    }
    names = list(works) if i % 2 else [*works][::-1]
    return {name: timed(*works[name]) for name in names}


def _ratios(rounds: list[dict[str, tuple[float, float]]], over: str, under: str) -> dict[str, float]:
    return {
        name: round(statistics.median(each[over][at] / each[under][at] for each in rounds), 3)
        for at, name in enumerate(("wall", "processor"))
    }


def _nothing(dimension: int) -> Any:
    import numpy as np

    return np.zeros(dimension, np.float32)


# --------------------------------------------------------------------- transformers' own continuous batching


def peer(base: Path, turns: int, blocks: int | None) -> dict[str, Any]:
    """transformers' ``ContinuousBatchingManager`` on the base without an adapter, in this process."""
    import torch
    from transformers import ContinuousBatchingConfig, GenerationConfig

    from banyan.node.learning.base_model import load
    from banyan.node.learning.tokens import text_ids

    torch.set_num_threads(1)
    loaded = load(base, "cpu")
    plain = Bare(loaded.model, loaded.tokenizer)
    batched = load(base, "cpu").model
    prompts = [text_ids(prompt, loaded.tokenizer) for prompt in PROMPTS]
    expected = [plain.one(prompt) for prompt in PROMPTS]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    batched.set_attn_implementation("paged|sdpa")
    config = None if blocks is None else ContinuousBatchingConfig(num_blocks=blocks)
    manager = batched.init_continuous_batching(
        generation_config=GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0),
        continuous_batching_config=config,
    )
    manager.start()

    def ask(which: list[list[int]]) -> dict[str, list[int]]:
        for ids in which:
            manager.add_request(ids, max_new_tokens=TOKENS)
        answers = [manager.get_result(timeout=120) for _ in which]
        return {answer.request_id: answer.generated_tokens for answer in answers}

    first = ask(prompts[:1])
    started = time.perf_counter() - began
    ask(prompts)
    rounds = []
    for i in range(turns):
        rounds.append(
            {
                "one": timed(lambda i=i: ask([prompts[i % 8]])),
                "bare": timed(lambda i=i: plain.one(PROMPTS[i % 8])),
                "after_another": timed(lambda: [ask([ids]) for ids in prompts]),
                "at_once": timed(lambda: ask(prompts)),
            }
        )
    manager.stop(block=True)
    return {
        "cache_blocks": blocks or "its own choice",
        "same_tokens": next(iter(first.values())) == expected[0],
        "seconds_to_the_first_answer": round(started, 2),
        "peak_memory_added_mb": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024),
        "one_request": _ratios(rounds, "one", "bare"),
        "eight_at_once_gain": _ratios(rounds, "after_another", "at_once"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, nargs="+", default=[base for base in BASES if base.is_dir()])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--peer", nargs=2, metavar=("BASE", "BLOCKS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        base, blocks = options.peer
        print(json.dumps(peer(Path(base), options.turns, int(blocks) or None)))
        return
    found = [measure(base, options.turns) for base in options.base]
    peers = []
    for blocks in ("0", "64"):
        command = [sys.executable, "-m", "benchmarks.serving", "--peer", str(options.base[0]), blocks]
        done = subprocess.run(
            [*command, "--turns", str(options.turns)], check=True, capture_output=True, text=True, cwd=ROOT
        )
        peers.append(json.loads(done.stdout.splitlines()[-1]))
    import torch
    import transformers

    result = {
        "what": "banyan serve over HTTP beside a bare model.generate in one process, greedy, "
        f"{TOKENS} tokens an answer, medians of {options.turns} turns",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores shared with other work (load "
        f"{psutil.getloadavg()[0]:.1f}), one thread each, "
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}",
        "limits": {"one_request": LIMIT_OVERHEAD, "eight_at_once_gain": LIMIT_GAIN},
        "banyan": found,
        "transformers_continuous_batching": peers,
    }
    RESULTS.joinpath("serving.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    RESULTS.joinpath("serving.md").write_text(page(result), "utf-8")
    print(page(result))


def page(result: dict[str, Any]) -> str:
    """The result for people."""
    lines = [
        "# Serving",
        "",
        f"`python -m benchmarks serving`, {result['date']}, {result['machine']}. {result['what']}. Ratios are wall "
        "time, in brackets processor time of whoever computes. One request may take at most "
        f"{LIMIT_OVERHEAD:.2f} times a bare `generate` of the same model, as PEFT has it; eight at once are to give at "
        f"least {LIMIT_GAIN:.0f} times the tokens a second of one after another.",
        "",
        "| base | one request | streamed | beside `generate` with the server's layers | without an adapter "
        "| eight at once | tokens/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in result["banyan"]:
        one, speed = each["one_request"], each["tokens_per_second"]
        cells = [
            f"{each['base']}, {each['parameters'] / 1e6:.1f} M, rank {each['rank']}",
            _pair(one["served"]),
            _pair(one["streamed"]),
            _pair(each["one_request_beside_the_servers_own_layers"]["served"]),
            _pair(each["one_request_beside_the_base_without_adapter"]),
            _pair(each["eight_at_once_gain"]),
            f"{speed['after_another']:.0f} → {speed['at_once']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "transformers' `ContinuousBatchingManager` on the first base, without an adapter and without HTTP:",
        "",
        "| cache blocks | tokens are `generate`'s | one request | eight at once | first answer after | memory |",
        "|---|---|---|---|---|---|",
    ]
    for each in result["transformers_continuous_batching"]:
        cells = [
            str(each["cache_blocks"]),
            "yes" if each["same_tokens"] else "no",
            _pair(each["one_request"]),
            _pair(each["eight_at_once_gain"]),
            f"{each['seconds_to_the_first_answer']} s",
            f"+{each['peak_memory_added_mb']:,} MB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _pair(ratios: dict[str, float]) -> str:
    return f"{ratios['wall']:.2f} × ({ratios['processor']:.2f} ×)"


if __name__ == "__main__":
    main()
