"""``banyan demo`` and ``banyan simulate``: thin doors to what is imported only when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from click.core import ParameterSource

from banyan.node.cli.options import JsonOption

DEMO_EXAMPLES = """
Examples:

    banyan demo

    banyan demo --attack lying-leader --rounds 6

    banyan demo --tree                                     sub-domains, their domain, the master

    banyan demo --base ~/models/smollm --data ~/corpora/en/medical --out results --json
"""

SIMULATE_EXAMPLES = """
Examples:

    banyan simulate --help

    banyan simulate --nodes 10 --attackers 2 --attack equivocate --loss 0.1 --crashes 5 --seed 7
"""

ATTACKS = ("sign-flip", "noise", "nan", "oversize", "replay", "equivocate", "lying-leader")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=DEMO_EXAMPLES)(demo)
    passed_on = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(epilog=SIMULATE_EXAMPLES, context_settings=passed_on)(simulate)


def demo(
    context: typer.Context,
    tree: Annotated[
        bool,
        typer.Option(
            "--tree",
            help="Three levels instead of one branch: what two sub-domains learn rises, and comes down to newcomers.",
        ),
    ] = False,
    nodes: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="Honest nodes, each a real process; with --tree, of each sub-domain (2)."
        ),
    ] = 5,
    attackers: Annotated[int, typer.Option(min=0, max=16, help="Malicious nodes beside them.")] = 1,
    rounds: Annotated[
        int, typer.Option(min=1, max=1_000, help="Releases to reach; with --tree, of each sub-domain (3).")
    ] = 4,
    rule: Annotated[str, typer.Option(help="The aggregation rule.")] = "multi-krum",
    attack: Annotated[str, typer.Option(help=f"What the attackers do: {', '.join(ATTACKS)}.")] = "sign-flip",
    base: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="A base model.", show_default="embedded")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(exists=True, help="JSONL rows to share out.", show_default="embedded")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the report goes.", show_default="banyan-demo")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Optimiser steps a round.", show_default="12")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--lr", min=1e-8, max=10.0, help="Peak learning rate.", show_default="0.004"),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31, help="Of the shared A and of the attackers' randomness.")
    ] = 0,
    json_: JsonOption = False,
) -> None:
    """Watch a network of real processes learn together on this machine while an attacker is shut out."""
    from banyan.node.cli.wording import choice

    if tree:
        refused = [name for name in ("attackers", "rule", "attack") if _is_given(context, name)]
        if refused:
            raise typer.BadParameter(
                "it is for a single branch; leave it out with --tree", param_hint=f"--{refused[0]}"
            )
        from banyan.node.demo.tree import run as grow

        code = grow(
            nodes=nodes if _is_given(context, "nodes") else None,
            rounds=rounds if _is_given(context, "rounds") else None,
            base=base,
            data=data,
            out=out,
            steps=steps,
            learning_rate=learning_rate,
            seed=seed,
            json_output=json_,
        )
        raise typer.Exit(code)
    from banyan.node.demo import run  # type: ignore[import-not-found,unused-ignore]

    code = run(
        nodes=nodes,
        attackers=attackers,
        rounds=rounds,
        rule=rule,
        attack=choice("--attack", attack, ATTACKS),
        base=base,
        data=data,
        out=out,
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
        json_output=json_,
    )
    raise typer.Exit(int(code or 0))


def _is_given(context: typer.Context, name: str) -> bool:
    return context.get_parameter_source(name) is not ParameterSource.DEFAULT


def simulate(context: typer.Context) -> None:
    """Run many virtual nodes with attackers and bad links on a virtual clock."""
    from banyan.simulations.command import run

    raise typer.Exit(run(list(context.args)))
