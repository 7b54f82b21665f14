"""How this node trains: every choice its owner has, with what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from banyan.security.schema import Between


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """One round's local training."""

    #: Optimiser steps a round. More: each round gains more and takes longer, and nodes drift further apart.
    steps: Annotated[int, Between(1, 1_000_000)] = 20
    #: Rows a step. More: steadier steps, each slower and with more memory.
    batch: Annotated[int, Between(1, 4096)] = 4
    #: Tokens of a row that are used. More: longer contexts are learnt; time and memory grow with it.
    max_length: Annotated[int, Between(8, 1 << 20)] = 128
    #: Peak learning rate of B. A frozen A needs about ten times what one gives LoRA. Higher: faster, less stable. The
    #: default was measured on models of 1 to 4 million parameters; start at a tenth of it for billions.
    learning_rate: Annotated[float, Between(1e-8, 10.0)] = 0.02
    #: Share of the steps that raise the rate from zero. More: safer starts, less learnt in a short round.
    warmup: Annotated[float, Between(0.0, 1.0)] = 0.1
    #: Where the cosine ends, as a share of the peak. Lower: calmer ends, and less learnt in a short round.
    final_rate: Annotated[float, Between(0.0, 1.0)] = 0.1
    #: AdamW's pull of B towards zero. More: smaller adapters, less learnt.
    weight_decay: Annotated[float, Between(0.0, 1.0)] = 0.0
    #: Gradients longer than this are shortened to it. Lower: safer against odd rows, slower.
    clip_norm: Annotated[float, Between(1e-6, 1e6)] = 1.0
    #: Held-out rows the loss is measured on before and after. More: a surer number that takes longer.
    eval_rows: Annotated[int, Between(1, 1_000_000)] = 32
    #: Columns of B that this device trains, the first of the adapter's rank; 0: all of them. Fewer: a smaller update to
    #: send, in proportion, and less learnt a round. Columns that too few members train stand still.
    columns: Annotated[int, Between(0, 1_024)] = 0
    #: Where to train: ``auto`` takes a GPU where there is one.
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    #: ``auto`` computes in bfloat16 where a GPU has it (twice as fast, slightly rougher), else in float32.
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    #: Whether rows whose ``split`` is ``pretrain`` are trained on. False: only what the base model never saw.
    use_pretrain_rows: bool = True
    #: What keeps earlier data sources from being forgotten while a new one is learnt. ``replay``: rows of them join
    #: every step, the surest, for about twice the time a step. ``ewc``: B is held where they need it; no rows are
    #: trained on again. ``orthogonal``: what they changed of a layer's outputs is left alone. ``none``: nothing but
    #: the gate.
    continual: Literal["replay", "ewc", "orthogonal", "none"] = "replay"
    #: How far the held-out loss of an earlier source may be above what its own training reached, in nats a token, for a
    #: version to pass the gate. Lower: less is forgotten, and more of a new lesson is held back.
    continual_epsilon: Annotated[float, Between(0.0, 100.0)] = 0.1
    #: Shares of a step that the gate tries where the whole does not pass, each at the cost of measuring every earlier
    #: source once. More: a larger share passes, later. 0: no gate.
    gate_tries: Annotated[int, Between(0, 20)] = 5
    #: Rows of all sources that are kept on this device for replay, about 1 KB each. More: a truer picture of the past.
    replay_rows: Annotated[int, Between(1, 100_000)] = 512
    #: Rows of earlier sources for each new one in a step, with ``replay``. More: less is forgotten, slower steps.
    replay_ratio: Annotated[float, Between(0.0, 16.0)] = 2.0
    #: How stiff the springs of ``ewc`` are; 1 weighs the earlier sources' estimated rise like the new one's loss.
    ewc_strength: Annotated[float, Between(0.0, 1e9)] = 10.0
    #: How much the updates may tell of any one row, in all: the ε of differential privacy at ``dp_delta``. Lower: less,
    #: by more noise, and less is learnt. 0: no noise, and nothing promised.
    dp_epsilon: Annotated[float, Between(0.0, 1000.0)] = 0.0
    #: The chance that the promise of ``dp_epsilon`` does not hold; well below one over the number of rows.
    dp_delta: Annotated[float, Between(1e-15, 0.1)] = 1e-5
    #: What each row's gradient is shortened to. Lower: less noise, and less of what is unusual is learnt.
    dp_clip: Annotated[float, Between(1e-6, 1e6)] = 1.0
    #: Rounds over which the budget is spread. More: each tells and learns less.
    dp_rounds: Annotated[int, Between(1, 1_000_000)] = 1
