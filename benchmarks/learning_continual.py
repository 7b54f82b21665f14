"""What learning three domains one after another costs the earlier ones, with each way to protect them.

Run as ``python -m benchmarks.learning_continual [--base DIR] [--corpora DIR]``; writes ``continual-learning.json``,
``.md`` and ``.svg`` to ``benchmarks/results/``. A run that is cut off goes on where it stopped; ``--fresh`` begins
again.

One device trains on English medicine, then German law, then English banking, with the trainer that a node uses and no
network. The first domain's training is shared by all arms of a seed. The gate looks at 32 held-out rows of each
domain; what is reported is measured on other held-out rows, which nothing chose by. *Rise* is how far a domain's loss
is above what it was right after its own training, averaged over the earlier domains at the end of each later one.
*Gain* is how far a domain's own training lowers its loss, averaged over the second and third.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from banyan.node.home import write_durably
from banyan.node.learning.adapter_spec import design_adapter
from banyan.node.learning.base_model import load
from banyan.node.learning.continual.course import Outcome, Source, learn
from banyan.node.learning.continual.memory import Memory
from banyan.node.learning.dataset import load_dataset
from banyan.node.learning.layout import Vector
from banyan.node.learning.learner import Learner
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.shared_a import from_bytes
from banyan.node.learning.tokens import Example, examples
from banyan.node.learning.trainer import held_out_loss

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results"
SHARED = ROOT.parent / "shared"
DOMAINS = ("en/medical", "de/law", "en/finance")
SEEDS = (1, 2, 3)
REPORTED_ROWS = 64

#: What each arm changes of the settings; the gate is off unless the arm's name says so.
ARMS: dict[str, dict[str, Any]] = {
    "naive": {"continual": "none"},
    "replay": {"continual": "replay"},
    "orthogonal": {"continual": "orthogonal"},
    "EWC": {"continual": "ewc"},
}
GATED = " + gate"

#: The targets: rise at most this share of naive's, gain at least this share.
RISE_SHARE, GAIN_SHARE = 0.1, 0.9


@dataclass(frozen=True)
class Stage:
    """After one domain's training: every domain's reported loss (nats a token), what it cost, what the gate let
    through."""

    losses: list[float]
    seconds: float
    gate_seconds: float
    share: float
    evaluations: int
    bytes: int


class Course:
    """One base model and the three domains, tokenized."""

    def __init__(self, base: Path, corpora: Path, settings: TrainingSettings) -> None:
        spec, blob = design_adapter(base, seed=1)
        loaded = load(base, "cpu")
        shared_a = from_bytes(blob, spec.rank, spec.tensors)
        self.model = Learner(
            loaded, rank=spec.rank, scale=spec.scale, tensors=spec.tensors, shared_a=shared_a
        ).model
        self.settings = settings
        self.pad = int(loaded.tokenizer.pad_token_id or 0)
        self.sources: list[Source] = []
        self.reported: list[list[Example]] = []
        for name in DOMAINS:
            rows = load_dataset([corpora / name], use_pretrain_rows=False)
            training, held_out = (
                examples(part, loaded.tokenizer, settings.max_length)
                for part in (rows.training, rows.held_out)
            )
            contents = frozenset(row.content for row in rows.training)
            apart = settings.eval_rows
            self.sources.append(Source(name, contents, training, held_out[:apart], 0))
            self.reported.append(held_out[apart : apart + REPORTED_ROWS])

    def losses(self) -> list[float]:
        """The reported loss of every domain, with the model as it is."""
        return [held_out_loss(self.model, rows, self.settings, pad=self.pad)[0] for rows in self.reported]

    def stage(
        self, at: int, b: Vector, memory: Memory, settings: TrainingSettings, seed: int
    ) -> tuple[Stage, Vector, Memory]:
        """Train on domain ``at`` from ``b``. A rejected version changes nothing: the device keeps what it had."""
        self.model.set_vector(b)
        begin = time.process_time()
        outcome: Outcome = learn(self.model, memory, self.sources[at], settings, seed=seed, pad=self.pad)
        seconds = time.process_time() - begin
        if outcome.memory is None:
            self.model.set_vector(b)
        kept = outcome.memory or memory
        verdict = outcome.verdict
        stage = Stage(
            self.losses(),
            seconds,
            outcome.gate_seconds,
            1.0 if verdict is None else verdict.share,
            0 if verdict is None else verdict.evaluations,
            kept.bytes(),
        )
        return stage, self.model.vector(), kept


def rise_and_gain(stages: Sequence[Stage]) -> tuple[float, float]:
    """The mean rise of earlier domains and the mean gain of new ones, nats a token."""
    rises = [
        stage.losses[earlier] - stages[earlier].losses[earlier]
        for at, stage in enumerate(stages)
        for earlier in range(at)
    ]
    gains = [stages[at - 1].losses[at] - stages[at].losses[at] for at in range(1, len(stages))]
    return statistics.fmean(rises), statistics.fmean(gains)


def measure(course: Course, steps: int, partial: Path) -> dict[str, list[list[Stage]]]:
    """The stages by arm and seed; finished ones are read from ``partial``."""
    done: dict[str, list[dict[str, Any]]] = json.loads(partial.read_text("utf-8")) if partial.exists() else {}
    names = [name + gate for name in ARMS for gate in ("", GATED)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("continual learning", total=len(names) * len(SEEDS))
        for seed in SEEDS:
            first: tuple[Stage, Vector, Memory] | None = None
            for name in names:
                progress.update(bar, description=f"{name}, seed {seed}")
                key = f"{name}/{seed}"
                if key not in done:
                    plain = replace(course.settings, steps=steps, gate_tries=0)
                    if first is None:
                        zero = np.zeros(course.model.layout.dimension, np.float32)
                        first = course.stage(0, zero, Memory(), plain, seed)
                    tries = course.settings.gate_tries if name.endswith(GATED) else 0
                    chosen = replace(plain, **ARMS[name.removesuffix(GATED)], gate_tries=tries)
                    stage, b, memory = first
                    stages = [stage]
                    for at in range(1, len(DOMAINS)):
                        stage, b, memory = course.stage(at, b, memory, chosen, seed)
                        stages.append(stage)
                    done[key] = [asdict(stage) for stage in stages]
                    write_durably(partial, json.dumps(done).encode(), 0o644)
                progress.advance(bar)
    return {name: [[Stage(**stage) for stage in done[f"{name}/{seed}"]] for seed in SEEDS] for name in names}


def summary(arms: dict[str, list[list[Stage]]]) -> dict[str, dict[str, Any]]:
    """Each arm's means over the seeds, beside naive training's."""
    told: dict[str, dict[str, Any]] = {}
    naive_rise, naive_gain = map(statistics.fmean, zip(*map(rise_and_gain, arms["naive"]), strict=True))
    for name, runs in arms.items():
        rises, gains = zip(*map(rise_and_gain, runs), strict=True)
        later = [stage for stages in runs for stage in stages[1:]]
        rise, gain = statistics.fmean(rises), statistics.fmean(gains)
        told[name] = {
            "rise": round(rise, 4),
            "rise_by_seed": [round(each, 4) for each in rises],
            "gain": round(gain, 4),
            "gain_by_seed": [round(each, 4) for each in gains],
            "rise_of_naive": round(rise / naive_rise, 4),
            "gain_of_naive": round(gain / naive_gain, 4),
            "meets_target": rise <= RISE_SHARE * naive_rise and gain >= GAIN_SHARE * naive_gain,
            "seconds_a_domain": round(statistics.fmean(stage.seconds for stage in later), 2),
            "gate_seconds_a_domain": round(statistics.fmean(stage.gate_seconds for stage in later), 2),
            "gate_evaluations": round(statistics.fmean(stage.evaluations for stage in later), 2),
            "share_let_through": round(statistics.fmean(stage.share for stage in later), 3),
            "bytes_kept": round(statistics.fmean(stages[-1].bytes for stages in runs)),
        }
    return told


def page(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [
        "# Learning three domains one after another",
        "",
        f"`python -m benchmarks continual`, {result['date']}, {result['machine']}. Base `{result['base']}`, rank "
        f"{result['rank']}, {result['settings']['steps']} steps a domain, {' → '.join(DOMAINS)}, seeds "
        f"{', '.join(map(str, SEEDS))}. Losses in nats a token on {REPORTED_ROWS} held-out rows a domain that the gate "
        "never sees. Rise: of earlier domains above what their own training reached. Gain: of each new domain. "
        f"Processor seconds a domain, on one core of a busy machine. Target: rise at most "
        f"{RISE_SHARE:.0%} of naive's, gain at least {GAIN_SHARE:.0%}.",
        "",
        "| arm | rise | of naive's | gain | of naive's | target | seconds | gate's, wall | let through | kept |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in result["arms"].items():
        met = "met" if row["meets_target"] else "missed"
        lines.append(
            f"| {name} | {row['rise']:.3f} | {row['rise_of_naive']:.1%} | {row['gain']:.3f} | "
            f"{row['gain_of_naive']:.1%} | {'–' if name == 'naive' else met} | {row['seconds_a_domain']:.1f} | "
            f"{row['gate_seconds_a_domain']:.1f} | {row['share_let_through']:.2f} | "
            f"{row['bytes_kept'] / 1024:,.0f} KiB |"
        )
    return "\n".join([*lines, "", "![Losses by domain](continual-learning.svg)", ""])


def draw(arms: dict[str, list[list[Stage]]], to: Path) -> None:
    """A panel a domain: its loss after each domain's training, the mean over the seeds, a line an arm."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams.update({"svg.hashsalt": "continual", "font.size": 9})
    figure, panels = plt.subplots(1, len(DOMAINS), figsize=(11, 3.6), sharex=True)
    for at, (panel, domain) in enumerate(zip(panels, DOMAINS, strict=True)):
        for number, (name, runs) in enumerate(arms.items()):
            means = [statistics.fmean(run[stage].losses[at] for run in runs) for stage in range(len(DOMAINS))]
            style = "--" if name.endswith(GATED) else "-"
            panel.plot(means, style, color=f"C{number // 2}", marker="o", markersize=3, label=name)
        panel.axvline(at, color="grey", linewidth=0.6, linestyle=":")
        panel.set(title=domain, xticks=range(len(DOMAINS)), xlabel="after training on")
        panel.set_xticklabels([each.partition("/")[2] for each in DOMAINS])
    panels[0].set_ylabel("held-out loss, nats a token")
    panels[-1].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(to, metadata={"Date": None})


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, default=SHARED / "models/stories-260k")
    parser.add_argument("--corpora", type=Path, default=SHARED / "corpora")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run had finished")
    options = parser.parse_args()
    for needed in (options.base, options.corpora):
        if not needed.exists():
            raise SystemExit(
                f"There is nothing at {needed}. Name a base model and corpora with --base and --corpora."
            )
    torch.set_num_threads(1)
    settings = TrainingSettings(device="cpu", use_pretrain_rows=False, steps=options.steps, max_length=96)
    partial = options.out / ".continual-learning.partial.json"
    if options.fresh:
        partial.unlink(missing_ok=True)
    course = Course(options.base, options.corpora, settings)
    arms = measure(course, options.steps, partial)
    result = {
        "what": "rise of earlier domains' held-out loss and gain of new ones, nats a token, by method",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, one core, torch {torch.__version__}, Python {platform.python_version()}",
        "base": options.base.resolve().name,
        "rank": course.model.layout.rank,
        "domains": DOMAINS,
        "seeds": SEEDS,
        "settings": asdict(settings),
        "arms": summary(arms),
        "stages": {name: [[asdict(stage) for stage in run] for run in runs] for name, runs in arms.items()},
    }
    (options.out / "continual-learning.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    (options.out / "continual-learning.md").write_text(page(result), "utf-8")
    draw(arms, options.out / "continual-learning.svg")
    partial.unlink()
    print(page(result))


if __name__ == "__main__":
    main()
