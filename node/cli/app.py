"""The tree of commands. Each lives in a module of its own that imports nothing heavy at its top."""

from __future__ import annotations

from typing import Annotated

import typer

from banyan.node.cli import (
    ask,
    audit,
    branch,
    branches,
    card,
    catalog,
    chat,
    checkout,
    clone,
    demo,
    diff,
    distill,
    doctor,
    export,
    found,
    hardware,
    invite,
    join,
    log,
    page,
    recommend,
    revoke,
    season,
    serve,
    settings,
    share,
    status,
    train,
    up,
)

app = typer.Typer(
    name="banyan",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A peer-to-peer network of language models that learn together: no server, and no liar gets far.",
    epilog="Start with `banyan demo`, or found your own network: `banyan found NAME`, then `banyan up`.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"banyan {version('banyan-fl')}")
        raise typer.Exit


@app.callback()
def _banyan(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="BANYAN_DEBUG", help="Show the traceback of a failure.")
    ] = False,
) -> None:
    pass


for module in (
    found,
    invite,
    join,
    up,
    clone,
    train,
    share,
    distill,
    status,
    page,
    branches,
    branch,
    log,
    ask,
    catalog,
    card,
    recommend,
    hardware,
    diff,
    checkout,
    serve,
    chat,
    export,
    audit,
    season,
    revoke,
    doctor,
    settings,
    demo,
):
    module.register(app)
