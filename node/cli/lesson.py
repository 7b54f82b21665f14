"""What ``banyan train`` says about a lesson: what was understood of the data, samples, losses, the privacy spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from banyan.node.learning.preview import Preview

#: Files that are listed one by one.
LISTED = 12

#: Characters of a sample that are shown.
SHOWN = 200


def preview_lines(seen: Preview) -> list[str]:
    """What was understood of the data."""
    tokens = f"{seen.tokens:,} tokens" if seen.counted else f"about {seen.tokens:,} tokens"
    files = f"{len(seen.files)} file{'' if len(seen.files) == 1 else 's'}"
    rows = seen.training + seen.held_out
    lines = [
        f"Data: {files}, {rows:,} rows ({seen.training:,} to train on, {seen.held_out:,} held out), {tokens}"
    ]
    for file in seen.files[:LISTED]:
        about = f"{file.kind}, {file.rows:,} row{'' if file.rows == 1 else 's'}"
        if file.columns:
            about += f": {file.columns}"
        for why, count in file.left_out.items():
            about += f"; {count:,} left out ({why})"
        lines.append(f"  {Path(file.path).name}  {about}")
    if (more := len(seen.files) - LISTED) > 0:
        lines.append(f"  and {more} more")
    if seen.others:
        named = "; ".join(f"{Path(path).name} ({why})" for path, why in seen.others[:LISTED])
        more = len(seen.others) - LISTED
        lines.append(f"  not read: {named}" + (f" and {more} more" if more > 0 else ""))
    if seen.duplicates:
        lines.append(f"  {seen.duplicates:,} rows are there more than once")
    if not seen.held_out:
        lines.append("  too little to hold any row out: the loss cannot be measured honestly")
    return lines


def sample_lines(title: str, samples: Sequence[Sequence[str]]) -> list[str]:
    """What the model answers to rows that it is not trained on."""
    lines = [title] if samples else []
    for prompt, answer in samples:
        lines += [f"  > {_short(prompt)}", f"    {_short(answer) or '(nothing)'}"]
    return lines


def result_lines(metrics: Mapping[str, float]) -> list[str]:
    """The losses of a lesson, and what it spent of the privacy budget."""
    lines = []
    for before, after in (("loss_before", "loss_after"), ("dp_loss_before", "dp_loss_after")):
        if before in metrics and after in metrics:
            lines.append(f"Held-out loss {metrics[before]:.3f} → {metrics[after]:.3f}")
    if "dp_epsilon" in metrics:
        lines.append(
            f"Privacy: ε = {metrics['dp_epsilon']:.2f} of {metrics['dp_budget']:g} spent at "
            f"δ = {metrics['dp_delta']:g}, for every row of yours"
        )
    return lines


def parse_privacy(text: str) -> dict[str, Any]:
    """``epsilon=8,delta=1e-5,clip=1`` as settings; ``off`` for none. Raises a usage error."""
    import click

    if text == "off":
        return {"dp_epsilon": 0.0}
    found: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        try:
            if name not in ("epsilon", "delta", "clip"):
                raise ValueError
            found[f"dp_{name}"] = float(value)
        except ValueError:
            raise click.BadParameter(
                f"{part!r} is none of epsilon=, delta= and clip= with a number, nor `off`", param_hint="--dp"
            ) from None
    if not found.get("dp_epsilon", 0) > 0:
        raise click.BadParameter("Give epsilon, such as epsilon=8", param_hint="--dp")
    return found


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"
