"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

HomeOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="BANYAN_HOME",
        show_default="this user's own",
        help="The node's state directory.",
    ),
]

ReleaseOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--release", help="The model at a release: PATH@HEIGHT, @~2, or an id.", show_default=False),
]

BaseOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--base",
        exists=True,
        file_okay=False,
        help="A folder that holds the network's base model.",
        show_default="this node's copy",
    ),
]

DeviceOption: TypeAlias = Annotated[
    str, typer.Option("--device", help="auto: an accelerator where there is one; else cpu, cuda or mps.")
]

PrivateOption: TypeAlias = Annotated[
    bool, typer.Option("--private", help="With what this device has learnt for itself alone on its branch.")
]

JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

PassphraseOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--passphrase",
        help="Lock the identity with a passphrase (asked for, or taken from BANYAN_PASSPHRASE).",
    ),
]


def check_own(private: bool, branch: str | None, release: str | None) -> None:
    """Raise a usage error where what was learnt privately is asked for on top of a model that was named."""
    import click

    if private and (branch is not None or release is not None):
        raise click.UsageError("--private is of the model that this node uses: name no branch or release.")


def new_passphrase(wanted: bool) -> str | None:
    """The passphrase for a new identity: from the environment, else asked for twice, else None."""
    from banyan.node.membership import passphrase_from

    found = passphrase_from()
    if found is None and wanted:
        found = str(typer.prompt("Passphrase for the identity", hide_input=True, confirmation_prompt=True))
    return found


def ask_passphrase() -> str:
    """The passphrase of an existing identity."""
    return str(typer.prompt("Passphrase of the identity", hide_input=True))
