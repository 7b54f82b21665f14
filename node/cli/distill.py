"""``banyan distill``: let a branch learn from the model of another, also across base models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from banyan.node.cli.options import HomeOption, JsonOption

EXAMPLES = """
Examples:

    banyan distill --from /en/medical --to /en/medical/pocket --text ~/public

    banyan distill --from /en/medical/pocket --to /en/medical --text news.jsonl --rounds 3 --steps 200

    banyan distill --from /en/medical --to /en/medical/pocket --text ~/public --temperature 2 --no-wait
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(distill)


def distill(
    source: Annotated[str, typer.Option("--from", help="The branch whose model is the teacher.")],
    target: Annotated[str, typer.Option("--to", help="The branch that learns.")],
    text: Annotated[
        Path,
        typer.Option(
            exists=True, help="Public text to learn on: files as for `banyan train`, or a folder of them."
        ),
    ],
    rounds: Annotated[int, typer.Option(min=1, max=1_000_000, help="Releases to take part in.")] = 1,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Optimiser steps a round.", show_default="as set")
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(min=0.1, max=100, help="How much the teacher's probabilities are softened."),
    ] = 1.0,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Watch until the rounds are closed.")] = True,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Let one branch learn from the model of another on public text; the branches may have other base models.

    Where their tokenizers are the same the student takes over the teacher's probabilities, else it reads what the
    teacher writes. What this node learns is its update to the branch in the coming rounds, like any training.
    """
    from banyan.node.cli.client import Client
    from banyan.node.cli.train import watch_rounds
    from banyan.node.home import Home

    client = Client(Home.find(home))
    seen = int(client.get("/status")["last_event"])
    answer = client.post(
        "/distill",
        {
            "source": source,
            "target": target,
            "text": str(text.resolve()),
            "rounds": rounds,
            "steps": steps,
            "temperature": temperature,
        },
    )
    if not json_:
        print(f"{target} learns from the model of {source} on {text}. See `banyan status`.")
    if wait:
        try:
            watch_rounds(client, answer, seen, quiet=json_)
        except KeyboardInterrupt:
            print("\nNo longer watching; the node goes on. See `banyan status`.")
            return
    if json_:
        import json

        print(json.dumps(answer | {"releases": client.get("/log", branch=target)["releases"]}))
