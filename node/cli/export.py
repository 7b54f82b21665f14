"""``banyan export``: a model of the tree in files that other tools load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from banyan.node.cli.options import BaseOption, HomeOption, JsonOption, PrivateOption, ReleaseOption

if TYPE_CHECKING:
    from banyan.node.home import Home
    from banyan.node.serving.chosen_release import ChosenRelease

#: The file that says what an export is made of; nothing else looks at it.
LINEAGE = "banyan.json"

FORMATS = ("peft", "merged", "gguf")

#: What each format's weights may be written in, the default first.
NUMBERS = {
    "peft": ("float32",),
    "merged": ("float32", "bfloat16", "float16"),
    "gguf": ("float16", "float32", "bfloat16", "q8_0"),
}

_OWN = "this node's own model, which it mixes"

EXAMPLES = """
Examples:

    banyan export --to adapter                       the model that this node uses, as a LoRA adapter

    banyan export --private --to mine                with what this device has learnt for itself

    banyan export --branch /health --to health --format merged --dtype bfloat16

    banyan export --format gguf --dtype q8_0 --to health && llama-cli -m health/model.gguf

    banyan export --to small --rank 8                what eight columns can say of it

    banyan export --release /health@12 --to old --base-name org/model
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(export)


def export(
    to: Annotated[Path, typer.Option(help="The folder to write.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="peft: the adapter alone, for PEFT. merged: whole weights, for transformers and what builds on it. "
            "gguf: one file, for llama.cpp and what builds on it.",
        ),
    ] = "peft",
    branch: Annotated[
        str | None, typer.Option(help="The newest model of this branch.", show_default="what this node uses")
    ] = None,
    release: ReleaseOption = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="What weights are written in. merged: float32, bfloat16, float16; "
            "gguf: float16, float32, bfloat16, q8_0.",
            show_default="the first named",
        ),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_536,
            help="Of a peft adapter at most this rank, the closest there is: each season adds to the rank, and some "
            "tools take no more.",
            show_default="all",
        ),
    ] = None,
    base: BaseOption = None,
    base_name: Annotated[
        str | None,
        typer.Option(help="The base model's name to write into a PEFT folder.", show_default="the folder"),
    ] = None,
    private: PrivateOption = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an export that is there.")] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Write a model of the tree for other tools: the sum of its branch's adapter and those above it.

    Works with a running node, and without one from what the device has.
    """
    import click

    from banyan.node.cli.options import check_own
    from banyan.node.cli.wording import choice, size
    from banyan.node.home import Home
    from banyan.node.serving.chosen_release import choose, with_lessons
    from banyan.security.errors import BanyanError

    check_own(private, branch, release)
    if branch is not None and release is not None:
        raise click.UsageError("Give --branch or --release, not both.")
    choice("--format", format_, FORMATS)
    if rank is not None and format_ != "peft":
        raise click.UsageError(f"--rank is of an adapter, and {format_} writes whole weights: leave it out.")
    numbers = dtype or NUMBERS[format_][0]
    choice("--dtype", numbers, NUMBERS[format_])
    if to.exists() and (not to.is_dir() or (any(to.iterdir()) and not force)):
        raise BanyanError(
            f"{to} is there already", "Choose another folder, or replace what is in it with --force"
        )
    place = Home.find(home)
    chosen = choose(place, branch, release, private=private)
    if private:
        with_lessons(chosen)
    if not chosen.adapters and not private:
        raise BanyanError(
            f"{chosen.branch} has learnt nothing yet, so there is nothing to export",
            "Wait for its first release: `banyan train`",
        )
    written, left = write_model(place, to, chosen, format_, numbers, base, base_name, quiet=json_, rank=rank)
    if json_:
        import json

        facts = {"to": str(to.absolute()), "bytes": written, "format": format_, "left_behind": left}
        print(json.dumps(facts | _lineage(chosen)))
        return
    parts = " + ".join(f"{path}@{height} ({digest[:8]})" for path, height, digest in chosen.parts)
    if private:
        parts = (
            f"{parts} + what this device has learnt for itself"
            if parts
            else "what this device has learnt for itself"
        )
    print(f"Wrote {to} ({size(written)}): {parts or _OWN}.")
    if left:
        print(f"Rank {rank} leaves {left:.1%} of the change behind.")


def write_model(
    home: Home,
    to: Path,
    chosen: ChosenRelease,
    format_: str,
    dtype: str,
    base: Path | None,
    base_name: str | None,
    *,
    quiet: bool,
    rank: int | None = None,
) -> tuple[int, float]:
    """Write the folder, each file in one step; returns the bytes of the weights, and the share of the change that a
    ``rank`` for an adapter leaves behind."""
    import json
    import tempfile

    from banyan.node import base_folder
    from banyan.node.serving.chosen_release import (
        base_of,
        charter_of,
        model_of,
        shared_a_of,
    )

    charter = charter_of(home)
    ground = charter.foundation_of(chosen.branch)
    spec = ground.adapter
    shared_a = shared_a_of(home, spec)
    vector, later = model_of(home, spec, chosen)
    left = 0.0
    before = list(to.iterdir()) if (to / LINEAGE).exists() else []
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to, prefix=".new-") as name:
        new = Path(name)
        if format_ == "peft":
            from banyan.node.learning.export import write_peft_folder

            copy = base or base_folder.place(home, ground.base)
            left = write_peft_folder(
                new,
                vector,
                rank=spec.rank,
                scale=spec.scale,
                tensors=spec.tensors,
                shared_a=shared_a,
                frozen=later,
                most=rank,
                base_model=base_name or (str(copy) if copy.is_dir() else ground.base.name),
            )
        else:
            folder = base_of(home, ground.base, base)
            with _bar(quiet) as progress:
                given = {
                    "spec": spec,
                    "shared_a": shared_a,
                    "later": later,
                    "dtype": dtype,
                    "progress": progress,
                }
                if format_ == "merged":
                    from banyan.node.serving.merged import write_merged_folder

                    write_merged_folder(new, folder, vector, **given)
                else:
                    from banyan.node.serving.gguf_file import write_gguf

                    name = f"{charter.name} {chosen.name}"
                    write_gguf(new / "model.gguf", folder, vector, name=name, **given)
        lineage = {"network": charter.network_id.hex(), "base": ground.base.name, **_lineage(chosen)}
        (new / LINEAGE).write_text(json.dumps(lineage, indent=2) + "\n", "utf-8")
        names = {file.name for file in new.iterdir()}
        for old in before:
            if old.name not in names and old.is_file():
                old.unlink()  # of another format: a loader might take both for one model
        for file in sorted(new.iterdir(), reverse=True):
            file.replace(to / file.name)
    weights = (file for file in to.iterdir() if file.suffix in (".safetensors", ".gguf"))
    return sum(file.stat().st_size for file in weights), left


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on the terminal's error output, with the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    bar = Progress(
        "writing",
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet,
    )
    with bar:
        task = bar.add_task("writing", total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)


def _lineage(chosen: ChosenRelease) -> dict[str, Any]:
    return {name: value for name, value in chosen.plain().items() if name != "pinned"}
